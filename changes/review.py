"""What a change request amounts to right now: plan, checks, approvals and what stands in its way.

Owns the evaluation of a head against main: the plan is that of the merge result, rules and owners are main's. Reads git
and rows and writes neither; cheap to call again, because what depends on commits alone is kept per process.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from changes.approvals import Fact, Requirement, requirements
from changes.catalog import catalog
from changes.checks import Violation, run_checks
from changes.models import Approval, ChangeRequest, Edit, Editor
from changes.plan import Plan, make_plan
from changes.repository import Conflict, Repository, state
from changes.repository.snapshots import catalog_digest, changed, snapshot
from changes.snapshot import Snapshot
from changes.states import ChangeRequestState, Decision

KEPT = 64


@dataclass(frozen=True, slots=True)
class Review:
    """One look at a change request. `main`, `base` and `head` are the commits it was made from."""

    change_request: ChangeRequest
    main: str
    base: str
    head: str
    plan: Plan
    violations: tuple[Violation, ...]
    requirements: tuple[Requirement, ...]
    barred: frozenset[str]
    conflicts: tuple[str, ...]
    outdated: bool
    blockers: tuple[str, ...]
    changes: Mapping[str, str | None]  # the merge result against main: path -> blob, None: deleted
    seen: tuple[int, int]  # the last approval and the number of editors: a merge holds only for these

    @property
    def can_merge(self) -> bool:
        return not self.blockers


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The part that depends on commits and the requester only."""

    base: str
    plan: Plan
    violations: tuple[Violation, ...]
    conflicts: tuple[str, ...]
    changes: Mapping[str, str | None]


_kept: OrderedDict[tuple[str, ...], _Outcome] = OrderedDict()
_lock = threading.Lock()


def evaluate(change_request: ChangeRequest) -> Review:
    """The change request as it stands: a draft by its edits, an open one by its head, a merged one by what it did."""
    if change_request.state == ChangeRequestState.MERGED:
        return _merged(change_request)
    if not change_request.head:
        return evaluate_draft(change_request)
    repository = state()
    main = repository.main()
    outcome = _outcome(repository, main, change_request.head, change_request.requester.username)
    return _review(change_request, main, change_request.head, outcome, rules=snapshot(repository, main, catalog()))


def evaluate_draft(change_request: ChangeRequest) -> Review:
    """The edits of a draft, or of an open request that is being revised, against main. Nothing is committed."""
    repository, folders = state(), catalog()
    main = repository.main()
    rules = snapshot(repository, main, folders)
    edits = list(change_request.edits.all())
    changes = {edit.path: None if edit.deletes else edit.text.encode() for edit in edits}
    head = changed(repository, rules, changes, catalog=folders)
    paths = [path for path in changes if rules.files.get(path) != head.files.get(path)]
    plan = make_plan(rules, head, paths, folders)
    requester = change_request.requester.username
    outcome = _Outcome(
        base=main,
        plan=plan,
        violations=tuple(run_checks(plan, base=rules, head=head, catalog=folders, requester=requester)),
        conflicts=tuple(edit.path for edit in edits if is_stale(edit, rules)),
        changes={path: head.files.get(path) for path in paths},
    )
    return _review(change_request, main, "", outcome, rules=rules)


def is_stale(edit: Edit, main: Snapshot) -> bool:
    """Has main's file moved on since this edit was begun, to something else than the edit says?"""
    now = main.files.get(edit.path, "")
    if now == edit.base_blob:
        return False
    wanted = "" if edit.deletes else Repository.hash_blob(edit.text.encode())
    return now != wanted


def seen_rows(change_request: ChangeRequest) -> tuple[int, int]:
    """Which rows an evaluation sees now: both only ever grow."""
    return _seen(_approvals(change_request), _editors(change_request))


def _seen(approvals: list[Approval], editors: list[Editor]) -> tuple[int, int]:
    return max((row.pk for row in approvals), default=0), len(editors)


def barred_from_approving(change_request: ChangeRequest) -> frozenset[str]:
    """The requester and everybody whose hands were on the branch: author, committer, pusher, editor."""
    return frozenset(row.user.username for row in _editors(change_request)) | {change_request.requester.username}


# A list of requests fetches the rows of all of them at once; else each is one query.


def _approvals(change_request: ChangeRequest) -> list[Approval]:
    rows = change_request.approvals.all()
    return list(rows if _is_fetched(change_request, "approvals") else rows.select_related("user"))


def _editors(change_request: ChangeRequest) -> list[Editor]:
    rows = change_request.editors.all()
    return list(rows if _is_fetched(change_request, "editors") else rows.select_related("user"))


def _is_fetched(change_request: ChangeRequest, name: str) -> bool:
    return name in getattr(change_request, "_prefetched_objects_cache", {})


def _outcome(repository: Repository, main: str, head: str, requester: str) -> _Outcome:
    key = (str(repository.path), main, head, catalog_digest(catalog()), requester)
    with _lock:
        found = _kept.get(key)
        if found is not None:
            _kept.move_to_end(key)
            return found
    found = _evaluated(repository, main, head, requester)
    with _lock:
        _kept[key] = found
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    return found


def _evaluated(repository: Repository, main: str, head: str, requester: str) -> _Outcome:
    folders = catalog()
    base = repository.merge_base(main, head)
    merged = repository.merge_trees(base, main, head)
    before = snapshot(repository, main, folders)
    conflicts: tuple[str, ...] = ()
    if isinstance(merged, Conflict):
        # There is no merge result; what the branch itself does is shown instead.
        conflicts = merged.paths
        before = snapshot(repository, base, folders)
        merged = repository.diff(base, head)
    changes = {path: new for path, (_, new) in merged.items()}
    after = changed(repository, before, changes, catalog=folders)
    plan = make_plan(before, after, list(changes), folders)
    violations = tuple(run_checks(plan, base=before, head=after, catalog=folders, requester=requester))
    return _Outcome(base or "", plan, violations, conflicts, changes)


def _review(change_request: ChangeRequest, main: str, head: str, outcome: _Outcome, *, rules: Snapshot) -> Review:
    merged = change_request.state == ChangeRequestState.MERGED
    approvals, editors = _approvals(change_request), _editors(change_request)
    barred = frozenset(row.user.username for row in editors) | {change_request.requester.username}
    facts = [
        Fact(
            user=row.user.username, decision="yes" if row.decision == Decision.YES else "no", items=frozenset(row.items)
        )
        for row in approvals
        if merged or row.user.is_active  # who may not sign in any more approves nothing
    ]
    needed = tuple(requirements(outcome.plan, rules=rules, barred=barred, facts=facts))
    return Review(
        change_request=change_request,
        main=main,
        base=outcome.base,
        head=head,
        plan=outcome.plan,
        violations=outcome.violations,
        requirements=needed,
        barred=barred,
        conflicts=outcome.conflicts,
        outdated=bool(head) and outcome.base != main,
        blockers=_blockers(change_request, outcome, needed=needed, rules=rules),
        changes=outcome.changes,
        seen=_seen(approvals, editors),
    )


def _merged(change_request: ChangeRequest) -> Review:
    """What a merged request did: its merge commit against its first parent, under the rules of that moment."""
    repository, folders = state(), catalog()
    (before, *_) = repository.info(change_request.merge_commit).parents
    changes = {path: new for path, (_, new) in repository.diff(before, change_request.merge_commit).items()}
    rules = snapshot(repository, before, folders)
    after = changed(repository, rules, changes, catalog=folders)
    outcome = _Outcome(before, make_plan(rules, after, list(changes), folders), (), (), changes)
    return _review(change_request, before, change_request.head, outcome, rules=rules)


def _blockers(
    change_request: ChangeRequest, outcome: _Outcome, *, needed: tuple[Requirement, ...], rules: Snapshot
) -> tuple[str, ...]:
    """What stands between this request and main, each as a sentence."""
    found: list[str] = []
    if change_request.state == ChangeRequestState.DRAFT:
        found.append("This is a draft: propose it when it is ready.")
    elif change_request.state != ChangeRequestState.OPEN:
        return (f"This change request is {change_request.state}.",)
    for path in outcome.conflicts:
        found.append(
            f"{path} was changed on main since this change began. Open the file in compose, which shows main's text, "
            "and decide what it should say."
        )
    if not outcome.plan.items and not outcome.conflicts:
        found.append("It changes nothing: main already says what it asks for.")
    found += _unreadable_rules(rules, outcome)
    if count := len(outcome.violations):
        found.append("One check fails." if count == 1 else f"{count} checks fail.")
    for requirement in needed:
        if not requirement.met:
            found.append(_waits_for(requirement))
    return tuple(dict.fromkeys(found))


def _unreadable_rules(rules: Snapshot, outcome: _Outcome) -> list[str]:
    """A rule on main that cannot be read refuses everything but the request that mends it."""
    return [
        f"{path} on main cannot be read ({problems[0].message}) A change request that mends this file comes first."
        for path, problems in rules.problems.items()
        if not path.startswith("resources/") and path not in outcome.changes
    ]


def _waits_for(requirement: Requirement) -> str:
    if requirement.declined:
        return f"{', '.join(requirement.declined)} said no as {_lower(requirement.sentence)}."
    if not requirement.possible:
        return (
            f"Nobody is left to approve as {_lower(requirement.sentence)}: who had a hand in this request cannot. "
            "Another member must be added to the team first."
        )
    return f"Waits for the approval of {_lower(requirement.sentence)}."


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
