"""What a change request amounts to right now: plan, checks, approvals and what stands in its way.

Owns the evaluation of a head against main: the plan is that of the merge result, rules and owners are main's, as they
were approved last. Reads git and rows and writes neither; cheap to call again, because what depends on commits alone is
kept per process.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from django.conf import settings

from changes.approvals import Fact, People, Requirement, requirements
from changes.catalog import catalog
from changes.checks import Violation, nobody_left, run_checks
from changes.models import Approval, ChangeRequest, Edit, Editor
from changes.plan import Plan, make_plan
from changes.repository import Conflict, Repository, state
from changes.repository.snapshots import catalog_digest, changed, snapshot
from changes.rights import can_sign_in
from changes.rules import Rules, rules_at
from changes.snapshot import Snapshot
from changes.states import ChangeRequestState, Decision

KEPT = 64
MEND = (
    "First a change request that changes nothing else has to mend this: it takes such a file back, or edits it again "
    "so that all of it is approved. Until then nothing else can be approved or merged."
)


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
    unsettled: tuple[str, ...]  # rules on main that have to be mended before anything else is approved or merged
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
    head: str
    plan: Plan
    violations: tuple[Violation, ...]
    conflicts: tuple[str, ...]
    changes: Mapping[str, str | None]


_kept: OrderedDict[tuple[str, ...], _Outcome] = OrderedDict()
_lock = threading.Lock()


def evaluate(change_request: ChangeRequest, *, able: frozenset[str] | None = None) -> Review:
    """The change request as it stands: a draft by its edits, an open one by its head, a merged one by what it did.

    `able` spares the question who can sign in, for a list of requests.
    """
    if change_request.state == ChangeRequestState.MERGED:
        return _merged(change_request)
    if not change_request.head:
        return evaluate_draft(change_request)
    repository = state()
    main = repository.main()
    rules = rules_at(repository, main)
    outcome = _outcome(repository, main, change_request, rules)
    return _review(change_request, main, outcome, rules=rules, able=can_sign_in() if able is None else able)


def evaluate_draft(change_request: ChangeRequest) -> Review:
    """The edits of a draft, or of an open request that is being revised, against main. Nothing is committed."""
    repository, folders = state(), catalog()
    main = repository.main()
    rules = rules_at(repository, main)
    edits = list(change_request.edits.all())
    changes = {edit.path: None if edit.deletes else edit.text.encode() for edit in edits}
    head = changed(repository, rules.main, changes, catalog=folders)
    paths = [path for path in changes if rules.main.files.get(path) != head.files.get(path)]
    plan = _against_approved(make_plan(rules.main, head, paths, folders), rules)
    requester = change_request.requester.username
    outcome = _Outcome(
        base=main,
        head="",
        plan=plan,
        violations=run_checks(
            plan,
            base=rules.in_force,
            head=head,
            catalog=folders,
            requester=requester,
            system_secrets=settings.MERGEYARD_SYSTEM_SECRETS,
        ),
        conflicts=tuple(edit.path for edit in edits if is_stale(edit, rules.main)),
        changes={path: head.files.get(path) for path in paths},
    )
    return _review(change_request, main, outcome, rules=rules, able=can_sign_in())


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


def _outcome(repository: Repository, main: str, change_request: ChangeRequest, rules: Rules) -> _Outcome:
    head, requester = change_request.head, change_request.requester.username
    key = (str(repository.path), main, head, catalog_digest(catalog()), requester)
    with _lock:
        found = _kept.get(key)
        if found is not None:
            _kept.move_to_end(key)
            return found
    found = _evaluated(repository, main, head, requester=requester, rules=rules)
    with _lock:
        _kept[key] = found
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    return found


def _evaluated(repository: Repository, main: str, head: str, *, requester: str, rules: Rules) -> _Outcome:
    folders = catalog()
    base = repository.merge_base(main, head)
    merged = repository.merge_trees(base, main, head)
    before, in_force = rules.main, rules.in_force
    conflicts: tuple[str, ...] = ()
    if isinstance(merged, Conflict):
        # There is no merge result; what the branch itself does is shown instead.
        conflicts = merged.paths
        before = in_force = snapshot(repository, base, folders)
        merged = repository.diff(base, head)
    changes = {path: new for path, (_, new) in merged.items()}
    after = changed(repository, before, changes, catalog=folders)
    plan = _against_approved(make_plan(before, after, list(changes), folders), rules)
    violations = run_checks(
        plan,
        base=in_force,
        head=after,
        catalog=folders,
        requester=requester,
        system_secrets=settings.MERGEYARD_SYSTEM_SECRETS,
    )
    return _Outcome(base or "", head, plan, violations, conflicts, changes)


def _against_approved(plan: Plan, rules: Rules) -> Plan:
    """An approver sees all of a file that nobody approved yet, not only what the request adds to it."""
    if not rules.unapproved:
        return plan
    approved = {path: each.approved for path, each in rules.unapproved.items()}
    return Plan(tuple(replace(item, base_blob=approved.get(item.path, item.base_blob)) for item in plan.items))


def _review(
    change_request: ChangeRequest, main: str, outcome: _Outcome, *, rules: Rules, able: frozenset[str]
) -> Review:
    approvals, editors = _approvals(change_request), _editors(change_request)
    requester = change_request.requester.username
    barred = frozenset(row.user.username for row in editors) | {requester}
    needed = requirements(
        outcome.plan, rules=rules.in_force, people=People(requester, barred, able), facts=map(_fact, approvals)
    )
    merged = change_request.state == ChangeRequestState.MERGED
    violations = outcome.violations if merged else (*outcome.violations, *nobody_left(needed))
    unsettled = () if merged else _unsettled(rules, outcome)
    return Review(
        change_request=change_request,
        main=main,
        base=outcome.base,
        head=outcome.head,
        plan=outcome.plan,
        violations=violations,
        requirements=needed,
        barred=barred,
        conflicts=outcome.conflicts,
        outdated=bool(outcome.head) and outcome.base != main,
        unsettled=unsettled,
        blockers=_blockers(change_request, outcome, unsettled=unsettled, checks=len(violations), needed=needed),
        changes=outcome.changes,
        seen=_seen(approvals, editors),
    )


def _fact(row: Approval) -> Fact:
    return Fact(row.user.username, "yes" if row.decision == Decision.YES else "no", frozenset(row.items))


def _merged(change_request: ChangeRequest) -> Review:
    """What a merged request did: its merge commit against its first parent, under the rules of that moment."""
    repository, folders = state(), catalog()
    (before, *_) = repository.info(change_request.merge_commit).parents
    changes = {path: new for path, (_, new) in repository.diff(before, change_request.merge_commit).items()}
    rules = rules_at(repository, before)
    after = changed(repository, rules.main, changes, catalog=folders)
    plan = _against_approved(make_plan(rules.main, after, list(changes), folders), rules)
    outcome = _Outcome(before, change_request.head, plan, (), (), changes)
    everybody = rules.in_force.members_of(rules.in_force.teams)
    return _review(change_request, before, outcome, rules=rules, able=everybody)


def _blockers(
    change_request: ChangeRequest,
    outcome: _Outcome,
    *,
    unsettled: tuple[str, ...],
    checks: int,
    needed: tuple[Requirement, ...],
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
    found += unsettled
    if checks:
        found.append("One check fails." if checks == 1 else f"{checks} checks fail.")
    for requirement in needed:
        if not requirement.met:
            found.append(_waits_for(requirement))
    return tuple(dict.fromkeys(found))


def _unsettled(rules: Rules, outcome: _Outcome) -> tuple[str, ...]:
    """Rules on main that cannot be read, or that nobody approved, refuse all but requests that mend such files only."""
    unreadable, unapproved = rules.unreadable, rules.unapproved
    broken = unreadable.keys() | unapproved.keys()
    if not broken or outcome.changes.keys() <= broken:
        return ()
    found = [f"{path} on main cannot be read: {why}" for path, why in unreadable.items()]
    found += [
        f"Commit {each.commit[:10]} changed {path} on main without a change request."
        for path, each in unapproved.items()
        if path not in unreadable
    ]
    return (*found, MEND)


def _waits_for(requirement: Requirement) -> str:
    if requirement.declined:
        return f"{', '.join(requirement.declined)} said no as {_lower(requirement.sentence)}."
    if not requirement.possible:
        return (
            f"Nobody is left to approve as {_lower(requirement.sentence)}: who had a hand in this request cannot, nor "
            "can who may not sign in. Another member must be added to the team first."
        )
    return f"Waits for the approval of {_lower(requirement.sentence)}."


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
