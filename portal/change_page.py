"""What the page of a change request says: its headline, its steps, and what the reader may do next and why not.

Owns sentences for people. Decides nothing: `changes.review` and `changes.workflow` do.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from changes.approvals import Requirement
from changes.models import User
from changes.plan import PlanItem
from changes.review import Review
from changes.rights import rights_of
from changes.states import ChangeRequestState
from changes.workflow import may_edit
from changes.workflow.people import has_a_say
from executors.states import ITEM_FINAL
from portal.headline import headline


@dataclass(frozen=True, slots=True)
class Step:
    """One stop of the progress line. state: done | now | failed | todo."""

    title: str
    state: str
    detail: str


@dataclass(frozen=True, slots=True)
class Group:
    """The same demand over many plan items, as one line of the page."""

    sentence: str
    state: str  # met | needed | no | blocked
    done: int
    total: int
    candidates: tuple[str, ...]
    given: tuple[str, ...]
    declined: tuple[str, ...]
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class May:
    """What the reader may do now; an empty `why_not…` means that it is theirs to do."""

    decide: frozenset[str]  # digests of plan items
    only_no: bool  # they had a hand in it: their yes only takes a no back
    why_not_decide: str
    merge: bool
    why_not_merge: tuple[str, ...]
    edit: bool
    withdraw: bool
    reject: bool
    update: bool


def headline_of(review: Review, items: Iterable[str] | None) -> str:
    """The state word of the page: an open request says what it waits for."""
    if review.change_request.state != ChangeRequestState.OPEN:
        return headline(review.change_request, items)
    if review.can_merge:
        return "ready"
    only_approvals = not review.conflicts and not review.violations and not review.unsettled and review.plan.items
    return "review" if only_approvals and not any(one.declined for one in review.requirements) else "blocked"


def steps(review: Review, items: list[str] | None) -> tuple[Step, ...]:
    """composed -> checked -> approved -> merged -> applied, each with a few words."""
    state = review.change_request.state
    merged, closed = (
        state == ChangeRequestState.MERGED,
        state
        in (
            ChangeRequestState.WITHDRAWN,
            ChangeRequestState.REJECTED,
        ),
    )
    count = len(review.plan.items)
    composed = Step("Composed", "done" if count else "failed", f"{count} file{'' if count == 1 else 's'}")
    wrong = len(review.violations) + len(review.conflicts)
    if merged or not wrong:
        checked = Step("Checked", "done", "no problem")
    else:
        checked = Step("Checked", "failed", f"{wrong} problem{'' if wrong == 1 else 's'}")
    return (
        composed,
        checked,
        _approved(review, merged, closed),
        _merged(review, merged, closed),
        _applied(merged, items),
    )


def _approved(review: Review, merged: bool, closed: bool) -> Step:
    met, total = sum(one.met for one in review.requirements), len(review.requirements)
    if merged or (total and met == total):
        return Step("Approved", "done", f"{met} of {total}" if total else "nobody needed")
    if any(one.declined for one in review.requirements):
        return Step("Approved", "failed", "declined")
    return Step("Approved", "todo" if closed else "now", f"{met} of {total}")


def _merged(review: Review, merged: bool, closed: bool) -> Step:
    if merged:
        return Step("Merged", "done", review.change_request.merge_commit[:10])
    if closed:
        return Step("Merged", "todo", review.change_request.state)
    return Step("Merged", "now" if review.can_merge else "todo", "ready" if review.can_merge else "not yet")


def _applied(merged: bool, items: list[str] | None) -> Step:
    if not merged:
        return Step("Applied", "todo", "after the merge")
    if items is None:
        return Step("Applied", "now", "is being picked up")
    done, bad = sum(item in ITEM_FINAL for item in items), sum(item in ("failed", "parked") for item in items)
    if bad:
        return Step("Applied", "failed", f"{bad} of {len(items)} failed")
    word = f"{done} of {len(items)} work item{'' if len(items) == 1 else 's'}" if items else "nothing to apply"
    return Step("Applied", "done" if done == len(items) else "now", word)


def groups(review: Review) -> tuple[Group, ...]:
    """The requirements, one line for each rule; what is still open comes first."""
    by_rule: dict[str, list[Requirement]] = {}
    for one in review.requirements:
        by_rule.setdefault(f"{one.id} {one.count}", []).append(one)
    found = [_group(rule) for rule in by_rule.values()]
    return tuple(sorted(found, key=lambda group: group.state == "met"))


def _group(rule: list[Requirement]) -> Group:
    done = sum(one.met for one in rule)
    declined = tuple(sorted({user for one in rule for user in one.declined}))
    state = "no" if declined else "met" if done == len(rule) else "needed"
    if state == "needed" and not all(one.possible for one in rule):
        state = "blocked"
    return Group(
        sentence=rule[0].sentence,
        state=state,
        done=done,
        total=len(rule),
        candidates=tuple(sorted(rule[0].candidates)),
        given=tuple(sorted({user for one in rule for user in one.given})),
        declined=declined,
        paths=tuple(one.path for one in rule if not one.met),
    )


def may(review: Review, user: User) -> May:
    """What the reader may do, with the reasons for what they may not."""
    request = review.change_request
    is_open = request.state == ChangeRequestState.OPEN
    has_say, edits = has_a_say(review, user), may_edit(request, user)
    decide = frozenset(one.digest for one in review.requirements if user.username in one.asked and not review.unsettled)
    merge_why = list(review.blockers)
    if is_open and review.can_merge and not has_say:
        merge_why.append("Only its requester, its teams, its approvers and the platform team can merge it.")
    return May(
        decide=decide if is_open else frozenset(),
        only_no=user.username in review.barred,
        why_not_decide="" if decide or not is_open else _why_not_decide(review, user),
        merge=is_open and review.can_merge and has_say,
        why_not_merge=tuple(merge_why) if is_open else (),
        edit=is_open and edits,
        withdraw=is_open and (edits or rights_of(user).is_platform),
        reject=is_open and has_say and user.pk != request.requester_id,
        update=is_open and review.outdated and not review.conflicts and has_say,
    )


def _why_not_decide(review: Review, user: User) -> str:
    if review.unsettled:
        return " ".join(review.unsettled)
    if all(one.met for one in review.requirements):
        return "Everybody whose approval is needed has given it."
    if user.pk == review.change_request.requester_id:
        return "You asked for it, so somebody else must approve it."
    if user.username in review.barred:
        return "You had a hand in it, so somebody else must approve it."
    teams = sorted({team for one in review.requirements for team in one.teams})
    return f"The approval of {', '.join(teams)} is asked for; you are not one of them." if teams else ""


def said(review: Review, user: User) -> dict[str, str]:
    """What the reader has said so far: digest -> yes or no."""
    found: dict[str, str] = {}
    for one in review.requirements:
        if user.username in one.given:
            found[one.digest] = "yes"
        if user.username in one.declined:
            found[one.digest] = "no"
    return found


def undecided(review: Review, user: User) -> tuple[PlanItem, ...]:
    """The plan items that wait for this reader: theirs to decide, not met, nothing said yet."""
    if review.unsettled:
        return ()
    answered = said(review, user)
    open_digests = {
        one.digest
        for one in review.requirements
        if not one.met and user.username in one.candidates and one.digest not in answered
    }
    return tuple(item for item in review.plan.items if item.digest in open_digests)
