"""Every kind of the catalogue, on its real server, against the promises of a resource module."""

import itertools
import json
import os
import pickle
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.systems.catalogue import PROVEN, SERVERS, places_of, put, start_of, values_at
from tests.systems.conftest import Stage
from tests.systems.hostile import LONG, NAUGHTY, SHARE, hostile, magic_fields, places_to_try
from tests.systems.test_sandbox import traces

pytestmark = [pytest.mark.systems]
every_server = pytest.mark.parametrize(("type_name", "server"), SERVERS)


def proves(title, kinds=PROVEN):
    """A property of every kind, by the name that it has in the table of the docs."""

    def mark(test):
        return pytest.mark.proves(title)(pytest.mark.parametrize("kind", kinds, ids=repr, scope="session")(test))

    return mark


WITH_SECRETS = [kind for kind in PROVEN if kind.file.get("secrets")]
WITH_FROZEN = [kind for kind in PROVEN if kind.frozen]
WITH_MAPS = [kind for kind in PROVEN if kind.maps]
WITH_OPTIONAL = [kind for kind in PROVEN if kind.removals]
WITH_UPDATES = [kind for kind in PROVEN if kind.mutable]


def shows(read, after):
    """What the system's own client reads, beside the same fields of what was predicted."""
    return read == {name: after.get(name) for name in read} and {*after} - {*read} == set()


def differing(one, other):
    return {name for name in {*one, *other} if one.get(name) != other.get(name)}


@pytest.fixture(scope="session")
def prepared(stages, kind):
    stage = stages(kind.type, kind.server)
    stage.prepare(kind)
    return stage


@pytest.fixture
def stage(prepared, request):
    request.node.user_properties.append(("server", prepared.testbed.title))
    return prepared


@proves("created as predicted; second run changes nothing")
def test_a_resource_is_created_as_predicted_and_the_second_run_changes_nothing(stage, kind):
    resource = kind.resource()
    predicted = stage.play(replaced=[resource], check=True).of(resource)
    assert predicted["kind"] == kind.name
    assert predicted["status"] == "ok", predicted["message"]
    assert (predicted["before"], predicted["changed"]) == (None, True)
    assert stage.read(resource) is None

    applied = stage.play(replaced=[resource])
    assert applied.code == 0, applied.output
    assert applied.of(resource) == predicted
    assert shows(stage.read(resource), predicted["after"])

    again = stage.play(replaced=[resource])
    assert again.changed == []
    assert again.of(resource)["before"] == predicted["after"]
    assert again.of(resource)["reasons"] == []


@proves("listed; drift is named and undone")
def test_it_is_listed_drift_is_found_and_undone(stage, kind):
    resource = kind.resource()
    after = stage.play(replaced=[resource]).of(resource)["after"]
    identity = {name: resource["spec"][name] for name in kind.identity}

    def listed():
        played = stage.play(book="discover")
        assert traces([*stage.testbed.secrets.values(), *kind.example.secrets.values()], played.said) == []
        return next(item for item in played.gathered(kind.name) if item["identity"] == identity)

    found = listed()
    assert found["spec"] == after
    assert found["marker"] in (resource["path"], None)

    stage.module.tamper(stage.testbed, kind.name, resource["spec"])
    touched = differing(stage.read(resource), after)
    assert touched
    assert differing(listed()["spec"], after) == touched
    drifted = stage.play(replaced=[resource], check=True).of(resource)
    assert drifted["changed"]
    assert differing(drifted["before"], after) == touched
    assert drifted["after"] == after
    assert {*after, *drifted["before"]} & {reason.split()[0].split(".")[0] for reason in drifted["reasons"]} == touched

    assert stage.play(replaced=[resource]).of(resource) == drifted
    assert shows(stage.read(resource), after)


@proves("deleted as predicted; again changes nothing")
def test_it_is_deleted_as_predicted_and_deleting_it_again_changes_nothing(stage, kind):
    resource, beside = kind.resource(), kind.resource()
    stage.play(replaced=[resource, beside])
    predicted = stage.play(deleted=[resource], check=True).of(resource)
    assert predicted["changed"]
    assert predicted["after"] is None
    assert stage.read(resource) is not None

    assert stage.play(deleted=[resource]).of(resource) == predicted
    assert stage.read(resource) is None
    assert stage.read(beside) is not None

    again = stage.play(deleted=[resource]).of(resource)
    assert (again["status"], again["changed"], again["before"], again["after"]) == ("ok", False, None, None)

    stage.module.remove(stage.testbed, kind.name, beside["spec"])
    assert stage.read(beside) is None


@dataclass
class Tried:
    """A change of a resource of its own: what was there, what is wanted, and what the plays said of it."""

    resource: dict
    wanted: dict
    predicted: dict = None
    applied: dict = None
    again: dict = None


@pytest.fixture(scope="session")
def tried(prepared, kind):
    """Every change of a kind, all in the same plays: (property, place) -> Tried."""
    assert [*kind.untried] == [], "The example names no other value of these fields."
    assert {*kind.example.frozen} == {*kind.frozen}
    assert {*kind.not_here} <= {".".join(place) for place in places_of(kind.schema)}
    removals = kind.removals
    assert [place for place, shape in removals.items() if not shape] == [], "The example has the default there only."
    changes = {}
    for place, value in kind.updates.items():
        resource = kind.resource_with(place[0])
        changes["update", place] = Tried(resource, kind.changed_at(resource, place, value))
    for place, (shape, places) in removals.items():
        resource = kind.resource(shape=shape)
        changes["remove", place] = Tried(resource, kind.without(resource, *places))
    for field in kind.maps:
        resource = kind.resource()
        fewer = dict([*resource["spec"][field].items()][1:])
        changes["entry", field] = Tried(resource, kind.changed(resource, **{field: fewer}))
    for field in kind.frozen:
        resource = kind.resource()
        changes["frozen", field] = Tried(resource, kind.frozen_changed(resource, field))
    if changes:
        assert prepared.play(replaced=[one.resource for one in changes.values()]).failed == []
        wanted = [one.wanted for one in changes.values()]
        plays = [prepared.play(replaced=wanted, check=check) for check in (True, False, False)]
        for one in changes.values():
            one.predicted, one.applied, one.again = (played.of(one.wanted) for played in plays)
    return changes


def of(tried, title):
    """Place -> change."""
    return {place: one for (group, place), one in tried.items() if group == title}


def must_have_come(stage, one):
    """As predicted, seen by the system's own client, and once."""
    assert one.applied["status"] == "ok", one.applied["message"]
    assert one.applied == one.predicted
    assert shows(stage.read(one.wanted), one.applied["after"])
    assert (one.again["status"], one.again["changed"]) == ("ok", False), one.again["reasons"]


@proves("every mutable field", WITH_UPDATES)
def test_every_mutable_field_changes_as_predicted_and_only_it(stage, tried, kind):
    for place, one in of(tried, "update").items():
        must_have_come(stage, one)
        assert one.applied["changed"]
        before, after, reasons = one.applied["before"], one.applied["after"], one.applied["reasons"]
        assert differing(before, after) == {place[0]}
        assert all(f"{reason.split()[0]}.".startswith(f"{'.'.join(place)}.") for reason in reasons), reasons


@proves("removed fields return to the default", WITH_OPTIONAL)
def test_an_optional_field_that_is_removed_returns_to_its_default(stage, tried, kind):
    for place, one in of(tried, "remove").items():
        must_have_come(stage, one)
        was, wanted, after = (
            sorted(map(repr, values_at(spec, place)))
            for spec in (one.resource["spec"], one.wanted["spec"], one.applied["after"])
        )
        assert after == wanted, place  # which are the defaults, or none where there is no default
        assert was != wanted, place
        assert one.applied["changed"], place


@proves("removed map entries are gone", WITH_MAPS)
def test_an_entry_that_is_removed_from_a_map_is_gone_on_the_system(stage, tried, kind):
    for field, one in of(tried, "entry").items():
        must_have_come(stage, one)
        assert one.applied["after"][field] == one.wanted["spec"][field]


@proves("immutable fields are refused", WITH_FROZEN)
def test_an_immutable_field_is_refused_with_a_reason_and_nothing_changes(stage, tried, kind):
    for field, one in of(tried, "frozen").items():
        for said in (one.predicted, one.applied):
            assert (said["status"], said["changed"]) == ("failed", False)
            assert said["message"].startswith(f"{field}: "), (field, said["message"])
            assert said["message"].endswith("."), (field, said["message"])
        seen, before = (values_at(spec, field.split(".")) for spec in (stage.read(one.wanted), one.applied["before"]))
        assert seen == before != []


@proves("moving to another team deletes nothing")
def test_a_document_that_moves_to_another_team_takes_its_resource_along(stage, kind):
    resource = kind.resource()
    before = stage.play(replaced=[resource]).of(resource)["after"]
    moved = {**resource, "path": resource["path"].replace("payments/", "orders/", 1)}
    predicted = stage.play(replaced=[moved], check=True).of(moved)
    event = stage.play(replaced=[moved]).of(moved)
    assert event == predicted
    assert event["status"] == "ok"
    assert event["before"] == event["after"] == before
    assert stage.play(replaced=[moved]).changed == []
    assert shows(stage.read(resource), before)
    if event["changed"]:  # the system holds a marker, so it knows whose it is
        assert event["reasons"] == [f"it was managed as {resource['path']}"]
        assert stage.play(deleted=[resource]).failed == [resource["path"]]
        assert stage.read(resource) is not None
    assert stage.play(deleted=[moved]).changed == [moved["path"]]
    assert stage.read(resource) is None


@proves("what others made is left alone until it is adopted")
def test_what_others_made_is_neither_changed_nor_deleted_until_it_is_adopted(stage, kind):
    resource = kind.resource()
    stage.module.make(stage.testbed, kind.name, resource["spec"])
    seen = stage.read(resource)
    assert seen is not None
    for check in (True, False):
        played = stage.play(replaced=[resource], check=check)
        assert played.failed == [resource["path"]]
        assert "write 'adopt: true'" in played.of(resource)["message"]
    event = stage.play(deleted=[resource]).of(resource)
    assert (event["status"], event["changed"]) == ("ok", False)
    assert event["reasons"] == ["it was made by others, so it is left alone"]
    assert stage.read(resource) == seen

    adopting = {**resource, "adopt": True}
    predicted = stage.play(replaced=[adopting], check=True).of(resource)
    assert stage.play(replaced=[adopting]).of(resource) == predicted
    assert "it was made by others and is taken over" in predicted["reasons"]
    assert shows(stage.read(resource), predicted["after"])
    assert stage.play(replaced=[adopting]).changed == []
    assert stage.play(deleted=[resource]).changed == [resource["path"]]
    assert stage.read(resource) is None


@pytest.mark.threat("worker.secrets")
@proves("a secret is verified and set once", WITH_SECRETS)
def test_a_secret_lets_one_in_is_verified_is_not_set_again_and_is_never_said(stage, kind, request):
    request.node.user_properties.append(("proves", ["secrets are nowhere", repr(kind)]))
    resource = kind.resource()
    first = kind.example.secrets
    second = {name: f"{value}-next" for name, value in first.items()}
    plays = []

    def play(**orders):
        plays.append(stage.play(**orders))
        return plays[-1]

    def accepts(secrets):
        return stage.module.accepts(stage.testbed, kind.name, resource["spec"], secrets)

    play(replaced=[resource])
    assert accepts(first)
    assert not accepts(second)
    kept = stage.module.kept(stage.testbed, kind.name, resource["spec"])
    assert play(replaced=[resource]).changed == []
    assert stage.module.kept(stage.testbed, kind.name, resource["spec"]) == kept
    predicted = play(replaced=[resource], secrets=second, check=True).of(resource)
    assert predicted["changed"]
    assert predicted["reasons"]
    assert accepts(first)
    unknown = play(replaced=[resource], secrets={}, check=True).of(resource)
    assert (unknown["status"], unknown["changed"]) == ("ok", True)
    assert ["secret does not exist yet" in reason for reason in unknown["reasons"]] == [True]
    assert "could not be read" in play(replaced=[resource], secrets={}).of(resource)["message"]
    assert accepts(first)
    assert play(replaced=[resource], secrets=second).of(resource) == predicted
    assert accepts(second)
    assert not accepts(first)
    assert stage.module.kept(stage.testbed, kind.name, resource["spec"]) != kept
    assert play(replaced=[resource], secrets=second).changed == []
    play(replaced=[resource])
    assert stage.module.kept(stage.testbed, kind.name, resource["spec"]) != kept  # so it sees a value that is set again
    play(deleted=[resource])
    secrets = [*stage.testbed.secrets.values(), *first.values(), *second.values()]
    assert traces(secrets, b"".join(played.said for played in plays)) == []


@proves("100 in one play")
def test_a_hundred_resources_go_in_one_play(stage, kind):
    resources = [kind.resource() for _ in range(100)]
    assert len(stage.play(replaced=resources).changed) == 100
    again = stage.play(replaced=resources)
    assert (len(again.resources), again.changed) == (100, [])
    assert len(stage.play(deleted=resources).changed) == 100
    assert stage.read(resources[42]) is None


@proves("a failure does not hide the others")
def test_one_failing_resource_does_not_hide_the_others(stage, kind):
    good = [kind.resource(), kind.resource()]
    twin = {**kind.resource(), "spec": good[0]["spec"]}  # names the same thing on the system
    bad = [kind.resource(__ansible_other="x"), twin]
    if kind.example.refused:
        bad.append(kind.resource(**kind.example.refused))
    predicted = stage.play(replaced=[good[0], *bad, good[1]], check=True)
    played = stage.play(replaced=[good[0], *bad, good[1]])
    assert played.code != 0
    assert sorted(predicted.failed) == sorted(played.failed)
    assert sorted(played.failed) == sorted(resource["path"] for resource in bad)
    assert sorted(played.changed) == sorted(resource["path"] for resource in good)
    assert all(shows(stage.read(resource), played.of(resource)["after"]) for resource in good)
    for resource in bad:
        assert played.of(resource)["message"] == predicted.of(resource)["message"]
        assert played.of(resource)["message"].endswith(".")
        assert "Traceback" not in played.of(resource)["message"]
        assert resource["path"] in played.output
    assert f"{len(bad)} of {len(bad) + 2} failed" in played.output
    assert '"before"' not in played.output  # whole documents are the events' and not the log's


@pytest.mark.threat("values.jinja", "values.shell", "values.options", "values.lines", "values.paths", "values.naughty")
@pytest.mark.threat("values.magic", "values.long")
@proves("hostile values")
def test_hostile_values_arrive_literally_or_are_refused(stage, kind, tmp_path):
    marker = tmp_path / "executed"
    resources = []
    places = places_to_try(kind)
    some = NAUGHTY[PROVEN.index(kind) % SHARE :: SHARE]
    tried = [(place, value) for place in places for value in hostile(marker)]
    tried += [(place, value) for place, value in zip(itertools.cycle(places), some, strict=False)]
    for (place, shape), value in tried:
        resource = kind.resource(shape=shape)
        put(resource["spec"], place, value)
        resources.append((resource, place, value))
    for field in kind.maps:
        for key in hostile(marker):
            resource = kind.resource()
            entry = next(iter(resource["spec"][field].values()))
            put(resource["spec"], (field, key), entry)
            resources.append((resource, (field, key), entry))
    reserved = kind.resource(settings={"__ansible_other": "{{ 7 * 7 }}"})
    harmless = kind.resource()
    obeyed = magic_fields(marker)
    magic = [kind.resource(**{name: value}) for name, value in obeyed.items()]

    played = stage.play(replaced=[*(resource for resource, _, _ in resources), reserved, *magic, harmless])

    assert not marker.exists()
    assert len(played.resources) == len(resources) + len(magic) + 2
    assert played.of(reserved)["status"] == "failed"
    for resource, (name, value) in zip(magic, obeyed.items(), strict=True):  # names that are no fields of the kind
        event = played.of(resource)
        assert event["message"].endswith(".") or stage.read(resource).get(name, value) == value, event
    assert played.of(harmless)["status"] == "ok", played.of(harmless)["message"]
    for resource, place, value in resources:
        event = played.of(resource)
        if event["status"] == "ok":
            found = stage.read(resource)
            for key in place:
                found = found[key]
                event["after"] = event["after"][key]
            assert found == value
            assert event["after"] == value or (
                len(value) == LONG and event["after"].startswith("xxx")
            )  # cut for people
        else:
            assert event["message"].endswith("."), event["message"]
            assert "\n" not in event["message"]
            assert len(event["message"]) <= 1000
    given = [*(resource for resource, _, _ in resources), *magic]
    made, not_made = (
        {stage.key(one) for one in given if (played.of(one)["status"] == "ok") is ok} for ok in (True, False)
    )
    assert (not_made - made) & stage.managed == set()  # what was refused does not count as ours
    stage.play(deleted=[resource for resource in given if played.of(resource)["status"] == "ok"])
    assert not marker.exists()


@pytest.mark.threat("values.ansible-keys")
@proves("reserved keys are refused")
def test_a_key_that_ansible_would_obey_stops_the_play_before_anything_is_done(stage, kind):
    resource = kind.resource()
    played = stage.play(replaced=[resource, kind.resource(settings={"__ansible_unsafe": "{{ 7 * 7 }}"})])
    assert played.code != 0
    assert played.changed == []
    assert stage.read(resource) is None


@every_server
def test_the_server_is_named_with_its_version(stages, type_name, server):
    assert re.search(r" [0-9]+\.[0-9]", stages(type_name, server).testbed.title)


@every_server
def test_a_server_ends_with_a_process_that_is_killed_and_is_then_said_to_be_down_in_one_sentence_and_soon(
    stages, type_name, server, tmp_path, request
):
    kinds = [kind for kind in PROVEN if (kind.type, kind.server) == (type_name, server)]
    for kind in kinds:
        request.node.user_properties.append(("proves", ["a system that is down is told in a sentence", repr(kind)]))
    running = stages(type_name, server).testbed  # the server can be had
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        testbed = start_of(type_name, server)(tmp_path / "server")
        os.write(writing, pickle.dumps((testbed.processes, replace(testbed, servers=[]))))
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    os.close(writing)
    with open(reading, "rb") as said:
        numbers, testbed = pickle.load(said)
    processes = [Path("/proc", str(number)) for number in numbers]
    assert len(processes) == len(running.processes)
    limit = time.monotonic() + 15
    while any(alive(process) for process in processes) and time.monotonic() < limit:
        time.sleep(0.05)
    assert [process for process in processes if alive(process)] == []

    resources = [kind.resource() for kind in kinds for _ in range(2)]
    began = time.monotonic()
    stage = Stage(type_name, tmp_path, testbed)
    played = stage.play(replaced=resources, deleted=[kind.resource() for kind in kinds])
    listed = stage.play(book="discover")
    stage.stop()
    assert played.code != 0
    assert len(played.failed) == len(resources) + len(kinds)
    assert time.monotonic() - began < 60
    assert (listed.code != 0, listed.events) == (True, [])
    last, _ = json.JSONDecoder().raw_decode(listed.output.rpartition("FAILED! => ")[2])
    for said in [*(event["message"] for event in played.resources), last["msg"]]:
        assert (said.count("\n"), said.count(". "), said[-1]) == (0, 0, ".")
        assert 20 < len(said) < 250
        assert "Traceback" not in said
        assert any(place in said for place in where(testbed.connection)), said


def where(connection):
    """What says where a system is: its port, or else addresses and paths."""
    texts = [value for value in connection.values() if isinstance(value, str)]
    return [str(connection["port"])] if "port" in connection else [text for text in texts if re.search("[/:]", text)]


def alive(process):
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
