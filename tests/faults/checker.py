"""Judges what is left of an installation after a load under faults. Pure: facts in, sentences out.

`Facts` is what git, database, systems, journals, queue and disks say in the end; the history is what the writers heard.
Values are unique: each stands for one document at one commit of main.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

APPLIED = ("changed", "unchanged")
STOPPED = ("failed", "cancelled", "parked", "skipped")
OPEN = ("waiting", "queued", "running", "asking")
OVER = {"succeeded", "superseded", *STOPPED}


@dataclass
class Facts:
    """`path` is that of a document, `value` its number or None; commits are ids, without the first one."""

    main: list = field(default_factory=list)  # (commit, {path: (before, after)}) along the first parents
    commits: list = field(default_factory=list)  # (position, commit, quarantined) as recorded
    rollouts: list = field(default_factory=list)  # (rollout, commit, cause)
    items: list = field(default_factory=list)  # {id, rollout, position, system, state, lease}
    results: list = field(default_factory=list)  # {item, path, result}
    runs: list = field(default_factory=list)  # {id, item, state, events: [numbers], counted}
    moves: list = field(default_factory=list)  # (item, before, after) in order
    intents: list = field(default_factory=list)  # (commit, state)
    requests: list = field(default_factory=list)  # (number, state, merge commit)
    systems: dict = field(default_factory=dict)  # path -> value, as it lies on the systems
    journals: dict = field(default_factory=dict)  # system -> its lines
    canaries: list = field(default_factory=list)  # where a secret was found
    left: list = field(default_factory=list)  # directories and processes of plays that are over


@dataclass
class Verdict:
    lost: list = field(default_factory=list)
    doubled: list = field(default_factory=list)
    out_of_order: list = field(default_factory=list)
    leaked: list = field(default_factory=list)

    def __iter__(self):
        return iter((self.lost, self.doubled, self.out_of_order, self.leaked))


def line(merges, faults, lost, doubled, out_of_order, leaked):
    """The last line of a soak, from numbers."""
    found = f"lost {lost}, doubled {doubled}, out of order {out_of_order}, leaked {leaked}"
    return f"merges {merges}, faults {faults}, {found}"


def judge(facts, history):
    return Verdict(
        lost=[*lost_merges(facts, history), *lost_work(facts), *lost_values(facts), *lost_events(facts)],
        doubled=[*doubled_results(facts), *doubled_plays(facts)],
        out_of_order=[*out_of_order(facts), *not_approved(facts, history), *strange_moves(facts)],
        leaked=[*facts.canaries, *facts.left, *left_rows(facts)],
    )


def merged(history):
    """The merges whose writer was told that they are done."""
    return [line for line in history if (line["op"], line["phase"]) == ("merge", "ok")]


def lost_merges(facts, history):
    """P1, from the person to main and to the row: what somebody was told is so."""
    on_main = {commit for commit, _ in facts.main}
    values = {after for _, changes in facts.main for _, after in changes.values()}
    asked = {
        (line["who"], line["number"]): line["documents"]
        for line in history
        if line["phase"] == "invoked" and "number" in line
    }
    for line in merged(history):
        documents = asked[line["who"], line["number"]]
        if line.get("commit") not in (None, *on_main):
            yield f"merge {line['number']} of {line['who']} was said to be done, and main lacks {line['commit']}"
        for path, value in documents.items():
            if value is not None and value not in values:
                yield f"merge {line['number']} of {line['who']} was said to be done, and no commit gave {path} {value}"
    for line in history:
        if (line["op"], line["phase"]) == ("merge", "failed"):
            for path, value in asked[line["who"], line["number"]].items():
                if value is not None and value in values:
                    yield f"merge {line['number']} of {line['who']} was said to have failed, and {path} has {value}"
    for commit, state in facts.intents:
        if (state == "done") != (commit in on_main) and state != "first":
            yield f"the merge of {commit} is {state}, and main {'has' if commit in on_main else 'lacks'} it"
    for number, state, commit in facts.requests:
        if state == "merged" and commit not in on_main:
            yield f"change request {number} is merged by {commit}, which main lacks"


def lost_work(facts):
    """P1, from main to work: every commit is recorded once, in its order, and each of its documents has a row."""
    recorded = [commit for _, commit, _ in sorted(facts.commits)]
    on_main = [commit for commit, _ in facts.main]
    if recorded != on_main:
        missing = [commit for commit in on_main if commit not in recorded]
        yield f"main and what was discovered differ: {len(missing)} commits are missing, like {missing[:1]}"
    quarantined = {commit for _, commit, found in facts.commits if found}
    of_rollout = {rollout: commit for rollout, commit, cause in facts.rollouts if cause == "merge"}
    of_item = {item["id"]: of_rollout.get(item["rollout"]) for item in facts.items}
    rows = Counter((of_item[row["item"]], row["path"]) for row in facts.results)
    for commit, changes in facts.main:
        for path in changes:
            if commit not in quarantined and not rows[commit, path]:
                yield f"{path} at {commit[:10]} never became work"
    states = {item["id"]: item["state"] for item in facts.items}
    for item in facts.items:
        if item["state"] in OPEN:
            yield f"work item {item['id']} of {item['system']} is still {item['state']}"
    for row in facts.results:
        if row["result"] == "pending" and states[row["item"]] == "succeeded":
            yield f"{row['path']} has no result, and its work item {row['item']} succeeded"


def lost_values(facts):
    """P1 and P10, at the systems: each is as main says, unless a failure of the last work on it is there to be seen."""
    quarantined = {commit for _, commit, found in facts.commits if found}
    wanted = {}
    for commit, changes in facts.main:
        if commit not in quarantined:
            wanted |= {path: after for path, (_, after) in changes.items()}
    items = {item["id"]: item for item in facts.items}
    last = {}
    for row in sorted(facts.results, key=lambda row: (items[row["item"]]["position"], row["item"])):
        last[row["path"]] = items[row["item"]]["state"]
    visible = {path for path, state in last.items() if state in STOPPED}
    for path in sorted({*wanted, *facts.systems}):
        if wanted.get(path) != facts.systems.get(path) and path not in visible:
            yield f"{path} should be {wanted.get(path)} and is {facts.systems.get(path)}, and nothing says why"


def lost_events(facts):
    """P8: the events of a run are numbered from 1 without a gap."""
    for run in facts.runs:
        if run["events"] != list(range(1, len(run["events"]) + 1)) or run["counted"] != len(run["events"]):
            yield f"run {run['id']} has the events {run['events'][:5]}... and counts {run['counted']}"
        if run["state"] == "succeeded" and not run["events"]:
            yield f"run {run['id']} succeeded and said nothing"


def doubled_results(facts):
    """One recorded result for each system, commit and resource; one rollout for each merge."""
    merges = Counter(commit for _, commit, cause in facts.rollouts if cause == "merge")
    yield from (f"{count} rollouts of the merge {commit}" for commit, count in merges.items() if count > 1)
    of_rollout = {rollout: commit for rollout, commit, cause in facts.rollouts if cause == "merge"}
    of_item = {item["id"]: of_rollout.get(item["rollout"]) for item in facts.items}
    rows = Counter((of_item[row["item"]], row["path"]) for row in facts.results if row["result"] in APPLIED)
    for (commit, path), count in rows.items():
        if commit is not None and count > 1:
            yield f"{count} results of {path} at {commit[:10]}"
    ends = Counter(run["item"] for run in facts.runs if run["state"] == "succeeded")
    yield from (f"{count} runs of work item {item} succeeded" for item, count in ends.items() if count > 1)


def doubled_plays(facts):
    """P2: two plays of one system were never alive at the same time."""
    for system, lines in facts.journals.items():
        for line in lines:
            if line["event"] == "clash":
                yield f"play {line['play']} of {system} began beside a living one"


def positions(facts):
    """(path, what it becomes, whether it is a deletion) -> position of the commit that says so."""
    at = {commit: position for position, commit, _ in facts.commits}
    found = {}
    for commit, changes in facts.main:
        for path, (before, after) in changes.items():
            found[path, before if after is None else after, after is None] = at.get(commit, 0)
    return found


def out_of_order(facts):
    """P2: what plays did to a resource came from commits in their order; the same one again is allowed."""
    known = positions(facts)
    for system, lines in facts.journals.items():
        last = defaultdict(int)
        for line in lines:
            if line["event"] not in ("put", "delete"):
                continue
            path = f"resources/{line['path']}.yml"
            at = known.get((path, line["value"], line["event"] == "delete"))
            if at is None:
                yield f"{system}: {line['event']} of {path} {line['value']}, which no commit of main says"
            elif at < last[path]:
                yield f"{system}: {path} got commit {at} after {last[path]}"
            last[path] = max(last[path], at or 0)


def not_approved(facts, history):
    """P4: what nobody approved never reached a system, and is shown as such."""
    intruders = {value for line in history if line["op"] == "intrude" for value in line["documents"].values()}
    for system, lines in facts.journals.items():
        for line in lines:
            if line.get("value") in intruders:
                yield f"{system}: {line['path']} {line['value']} was applied, and nobody approved it"
    quarantined = {commit for _, commit, found in facts.commits if found}
    approved = {commit for commit, state in facts.intents if state in ("done", "first")}
    for commit, _ in facts.main:
        if (commit in quarantined) == (commit in approved):
            yield f"commit {commit} is {'quarantined' if commit in quarantined else 'taken for approved'}"


def strange_moves(facts):
    """P9: the rows of a work item's moves are a chain that ends in its state."""
    last = {}
    for item, before, after in facts.moves:
        if last.get(item, "waiting") != before:
            yield f"work item {item} moved from {before}, and it was {last.get(item, 'waiting')}"
        last[item] = after
    for item in facts.items:
        if last.get(item["id"], "waiting") != item["state"]:
            yield f"work item {item['id']} is {item['state']}, and its last move was to {last.get(item['id'])}"


def left_rows(facts):
    """Nothing is held by what is over."""
    states = {item["id"]: item["state"] for item in facts.items}
    for item in facts.items:
        if item["state"] in OVER and item["lease"]:
            yield f"work item {item['id']} is {item['state']} and has a lease"
    for run in facts.runs:
        if run["state"] in ("starting", "running") and states[run["item"]] != "running":
            yield f"run {run['id']} is {run['state']}, and its work item is {states[run['item']]}"
