"""The checker is worth something: it finds each loss, double, wrong order and leak that is put before it."""

import copy

import pytest

from tests.faults.checker import Facts, judge, line

PATH, OTHER = "resources/payments/ledger-1/Entry/a.yml", "resources/payments/ledger-1/Entry/b.yml"
SHORT = "payments/ledger-1/Entry/a"


def ended(item, run, *results, position, state="succeeded"):
    """What the database says of a work item that was run once."""
    return {
        "items": {
            "id": item,
            "rollout": item,
            "position": position,
            "system": "ledger-1",
            "state": state,
            "lease": False,
        },
        "results": [{"item": item, "path": path, "result": "changed"} for path in results],
        "runs": {"id": run, "item": item, "state": state, "events": [1, 2, 3], "counted": 3},
        "moves": [(item, "waiting", "running"), (item, "running", state)],
    }


def played(play, event, value):
    lines = [{"event": "begin"}, {"event": event, "path": SHORT, "value": value}, {"event": "end"}]
    return [{"at": play, "play": f"p{play}", **each} for each in lines]


@pytest.fixture
def told():
    """Two merges of one document, put at 1 and then at 2, each applied once."""
    first, second = ended(11, 21, PATH, position=2), ended(12, 22, PATH, position=3)
    facts = Facts(
        main=[("c1", {PATH: (None, 1)}), ("c2", {PATH: (1, 2)})],
        commits=[(2, "c1", False), (3, "c2", False)],
        rollouts=[(11, "c1", "merge"), (12, "c2", "merge")],
        items=[first["items"], second["items"]],
        results=[*first["results"], *second["results"]],
        runs=[first["runs"], second["runs"]],
        moves=[*first["moves"], *second["moves"]],
        intents=[("c0", "first"), ("c1", "done"), ("c2", "done")],
        requests=[(1, "merged", "c1"), (2, "merged", "c2"), (3, "open", "")],
        systems={PATH: 2},
        journals={"ledger-1": [*played(1, "put", 1), *played(2, "put", 2)]},
    )
    history = []
    for number, value in ((1, 1), (2, 2)):
        merge = {"who": "w", "op": "merge", "number": number}
        history.append({**merge, "phase": "invoked", "documents": {PATH: value}})
        history.append({**merge, "phase": "ok", "commit": f"c{number}"})
    return facts, history


def found(facts, history):
    """How much of each sort, and the sentences in one text."""
    verdict = judge(facts, history)
    return [len(each) for each in verdict], " ".join(sentence for each in verdict for sentence in each)


def test_nothing_is_found_where_nothing_is_wrong(told):
    assert found(*told) == ([0, 0, 0, 0], "")


def test_a_merge_that_was_said_to_be_done_and_is_not_on_main_is_lost(told):
    facts, history = told
    history += [
        {"who": "w", "op": "merge", "number": 3, "phase": "invoked", "documents": {OTHER: 3}},
        {"who": "w", "op": "merge", "number": 3, "phase": "ok", "commit": "c3"},
    ]
    counts, text = found(facts, history)
    assert counts == [2, 0, 0, 0]
    assert "main lacks c3" in text
    assert f"no commit gave {OTHER} 3" in text


def test_a_merge_nobody_heard_the_end_of_may_be_done_or_not(told):
    facts, history = told
    history[-1] = {**history[-1], "phase": "unknown"}
    history.append({"who": "w", "op": "merge", "number": 3, "phase": "invoked", "documents": {OTHER: 3}})
    assert found(facts, history) == ([0, 0, 0, 0], "")


def test_a_refused_merge_that_main_has_is_found(told):
    facts, history = told
    history[-1] = {**history[-1], "phase": "failed"}
    assert found(facts, history)[0] == [1, 0, 0, 0]


def test_a_commit_that_was_not_discovered_is_lost(told):
    facts, history = told
    facts.commits.pop()
    counts, text = found(facts, history)
    assert "1 commits are missing" in text
    assert counts[0] == 1


def test_a_document_without_work_is_lost(told):
    facts, history = told
    facts.results.pop()
    assert f"{PATH} at c2 never became work" in found(facts, history)[1]


def test_work_that_stays_open_is_lost(told):
    facts, history = told
    facts.items[1]["state"] = "waiting"
    facts.moves, facts.runs = facts.moves[:2], facts.runs[:1]
    facts.systems, facts.journals["ledger-1"] = {PATH: 1}, facts.journals["ledger-1"][:3]
    counts, text = found(facts, history)
    assert "work item 12 of ledger-1 is still waiting" in text
    assert "should be 2 and is 1" in text
    assert counts == [2, 0, 0, 0]


def test_a_value_that_did_not_reach_its_system_is_lost(told):
    facts, history = told
    facts.systems[PATH] = 1
    assert found(facts, history) == ([1, 0, 0, 0], f"{PATH} should be 2 and is 1, and nothing says why")


def test_a_failure_that_can_be_seen_is_no_loss(told):
    facts, history = told
    facts.systems[PATH] = 1
    facts.items[1]["state"] = facts.runs[1]["state"] = "failed"
    facts.results[1]["result"], facts.moves[-1] = "failed", (12, "running", "failed")
    assert found(facts, history)[0] == [0, 0, 0, 0]


def test_an_earlier_failure_excuses_nothing(told):
    facts, history = told
    facts.systems[PATH] = 1
    facts.items[0]["state"] = facts.runs[0]["state"] = "failed"
    facts.results[0]["result"], facts.moves[1] = "failed", (11, "running", "failed")
    assert found(facts, history)[0] == [1, 0, 0, 0]


def test_what_is_on_a_system_and_not_on_main_is_found(told):
    facts, history = told
    facts.systems[OTHER] = 9
    assert found(facts, history)[0] == [1, 0, 0, 0]


@pytest.mark.parametrize(("events", "counted"), [([1, 3], 2), ([1, 2, 2], 3), ([2, 3], 2), ([1, 2], 3), ([], 0)])
def test_events_with_a_gap_or_twice_or_none_are_found(told, events, counted):
    facts, history = told
    facts.runs[0] |= {"events": events, "counted": counted}
    assert found(facts, history)[0] == [1, 0, 0, 0]


def test_a_result_that_is_recorded_twice_is_found(told):
    facts, history = told
    again = ended(13, 23, PATH, position=3)
    facts.items.append(again["items"] | {"rollout": 12})
    facts.results += again["results"]
    facts.runs.append(again["runs"])
    facts.moves += again["moves"]
    assert found(facts, history) == ([0, 1, 0, 0], f"2 results of {PATH} at c2")


def test_two_rollouts_of_one_merge_and_two_ends_of_one_item_are_found(told):
    facts, history = told
    facts.rollouts.append((13, "c2", "merge"))
    facts.runs.append({**facts.runs[1], "id": 23})
    assert found(facts, history)[0] == [0, 2, 0, 0]


def test_the_same_work_again_on_purpose_is_no_double(told):
    facts, history = told
    again = ended(13, 23, PATH, position=3)
    facts.rollouts.append((13, "c2", "reapply"))
    facts.items.append(again["items"])
    facts.results += again["results"]
    facts.runs.append(again["runs"])
    facts.moves += again["moves"]
    facts.journals["ledger-1"] += played(3, "put", 2)
    assert found(facts, history) == ([0, 0, 0, 0], "")


def test_a_play_that_began_beside_a_living_one_is_found(told):
    facts, history = told
    facts.journals["ledger-1"].insert(1, {"at": 1, "play": "p2", "event": "clash"})
    assert found(facts, history) == ([0, 1, 0, 0], "play p2 of ledger-1 began beside a living one")


def test_an_older_commit_over_a_later_one_is_found(told):
    facts, history = told
    facts.journals["ledger-1"] += played(3, "put", 1)
    assert found(facts, history) == ([0, 0, 1, 0], f"ledger-1: {PATH} got commit 2 after 3")


def test_a_deletion_has_the_place_of_its_commit(told):
    facts, history = told
    facts.main.append(("c3", {PATH: (2, None)}))
    facts.commits.append((4, "c3", False))
    facts.rollouts.append((13, "c3", "merge"))
    facts.intents.append(("c3", "done"))
    third = ended(13, 23, PATH, position=4)
    facts.items.append(third["items"])
    facts.results += third["results"]
    facts.runs.append(third["runs"])
    facts.moves += third["moves"]
    facts.systems = {}
    good = copy.deepcopy(facts)
    good.journals["ledger-1"] += played(3, "delete", 2)
    assert found(good, history) == ([0, 0, 0, 0], "")
    facts.journals["ledger-1"] = [*played(1, "put", 1), *played(2, "delete", 2), *played(3, "put", 2)]
    assert found(facts, history)[0] == [0, 0, 1, 0]


def test_what_no_commit_says_is_found_on_its_way_to_a_system(told):
    facts, history = told
    facts.journals["ledger-1"] += played(3, "put", 77)
    assert found(facts, history)[0] == [0, 0, 1, 0]


def test_what_nobody_approved_is_found_on_its_way_to_a_system(told):
    facts, history = told
    history.append({"who": "nemesis", "op": "intrude", "phase": "invoked", "commit": "c3", "documents": {OTHER: 3}})
    facts.main.append(("c3", {OTHER: (None, 3)}))
    facts.commits.append((4, "c3", True))
    assert found(facts, history) == ([0, 0, 0, 0], "")
    facts.journals["ledger-1"] += [{**each, "path": SHORT[:-1] + "b"} for each in played(3, "put", 3)]
    assert "and nobody approved it" in found(facts, history)[1]


def test_a_commit_of_nobody_that_is_taken_for_approved_is_found(told):
    facts, history = told
    facts.commits[1] = (3, "c2", True)
    assert "commit c2 is quarantined" in found(facts, history)[1]


def test_a_move_without_a_row_is_found(told):
    facts, history = told
    del facts.moves[2]
    assert found(facts, history)[0] == [0, 0, 1, 0]


def test_a_merge_that_is_half_done_is_found(told):
    facts, history = told
    facts.intents[1] = ("c1", "open")
    facts.requests[2] = (3, "merged", "c9")
    counts, text = found(facts, history)
    assert "the merge of c1 is open, and main has it" in text
    assert "change request 3 is merged by c9, which main lacks" in text
    assert counts[0] == 2


def test_what_is_held_by_nobody_is_a_leak(told):
    facts, history = told
    facts.items[0]["lease"] = True
    facts.runs.append({"id": 23, "item": 11, "state": "running", "events": [], "counted": 0})
    facts.canaries, facts.left = ["the secret stands in a log"], ["process 7 was left"]
    assert found(facts, history)[0] == [0, 0, 0, 4]


@pytest.mark.parametrize("sort", ["main", "commits", "rollouts", "results", "moves", "intents"])
def test_whatever_row_is_lost_it_is_found(told, sort):
    facts, history = told
    for place in range(len(getattr(facts, sort))):
        wrong = copy.deepcopy(facts)
        lost = getattr(wrong, sort).pop(place)
        if lost != ("c0", "first"):
            assert sum(found(wrong, history)[0]), lost


def test_the_line_says_it_all():
    assert line(10, 3, 0, 1, 2, 4) == "merges 10, faults 3, lost 0, doubled 1, out of order 2, leaked 4"
