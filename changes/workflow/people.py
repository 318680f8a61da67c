"""Who may do what to a change request, how people sign commits, and how hands on a branch are remembered.

Knows no verb.
"""

from collections.abc import Iterable

from django.db.models import Q

from changes.documents import Address
from changes.models import ChangeRequest, Editor, PlanRow, Transition, User
from changes.repository import CommitInfo, Person
from changes.review import Review, evaluate
from changes.rights import rights_of
from changes.states import OPEN_STATES, ChangeRequestState

DOMAIN = "@users.mergeyard.invalid"
MAX_HEADS = 2_000  # of commits in one push, see repository.policy
MAX_EMAIL = 254  # of a person's row: a longer one is nobody's
EMAILS_AT_ONCE = 200  # in one question: there is a limit to what a database takes
MERGEYARD = Person("Mergeyard", "portal@mergeyard.invalid")


class Refused(Exception):
    """The verb was refused; the text is a sentence for the person who asked."""


def person(user: User) -> Person:
    """How a person signs commits that the portal makes."""
    return Person(user.shown_name, user.username + DOMAIN)


def user_of(signer: Person) -> User | None:
    """The person behind a commit's name, by the portal's own address or by their e-mail."""
    if signer.email.endswith(DOMAIN):
        return User.objects.filter(username=signer.email.removesuffix(DOMAIN)).first()
    return User.objects.filter(email__iexact=signer.email).first() if signer.email else None


def may_edit(change_request: ChangeRequest, user: User) -> bool:
    """The requester always; members of the teams whose files it touches once it is open."""
    if user.pk == change_request.requester_id:
        return True
    if change_request.state != ChangeRequestState.OPEN:
        return False
    teams = set(change_request.plan_rows.exclude(team="").values_list("team", flat=True))
    return not rights_of(user).teams.isdisjoint(teams)


def must_edit(change_request: ChangeRequest, user: User) -> None:
    if change_request.state not in OPEN_STATES:
        raise Refused(
            f"Change request {change_request.number} is {change_request.state} and cannot be edited any more."
        )
    if not may_edit(change_request, user):
        raise Refused(
            f"Change request {change_request.number} belongs to {change_request.requester.shown_name}: only they and, "
            "once it is proposed, members of the teams it touches can edit it."
        )


def has_a_say(review: Review, user: User) -> bool:
    """Whoever may edit the request or is asked about a part of it, and the platform team."""
    return (
        may_edit(review.change_request, user)
        or any(user.username in requirement.asked for requirement in review.requirements)
        or rights_of(user).is_platform
    )


def remember_editors(change_request: ChangeRequest, users: Iterable[User]) -> None:
    rows = [Editor(change_request=change_request, user=user) for user in users]
    Editor.objects.bulk_create(rows, ignore_conflicts=True)


def hands_on(commits: Iterable[CommitInfo]) -> list[User]:
    """Authors and committers of commits, and whoever brought them in with an earlier request, as far as they are
    people of this installation: a name in a commit can be anybody's, the pusher of a branch cannot.
    """
    commits = list(commits)
    heads = [info.sha for info in commits[:MAX_HEADS]]
    earlier = ChangeRequest.objects.filter(head__in=heads).values("pk")
    brought = Q(pk__in=Editor.objects.filter(change_request__in=earlier).values("user"))
    found = set(User.objects.filter(brought | Q(change_requests__in=earlier)))
    signers = {signer for info in commits for signer in (info.author, info.committer)} - {MERGEYARD}
    emails = sorted({signer.email for signer in signers if 0 < len(signer.email) <= MAX_EMAIL})
    for start in range(0, len(emails), EMAILS_AT_ONCE):
        found.update(User.objects.filter(_has_one_of(emails[start : start + EMAILS_AT_ONCE])))
    return list(found)


def _has_one_of(emails: list[str]) -> Q:
    wanted = Q(username__in=[email.removesuffix(DOMAIN) for email in emails if email.endswith(DOMAIN)])
    for email in emails:
        if not email.endswith(DOMAIN):
            wanted |= Q(email__iexact=email)
    return wanted


def note(change_request: ChangeRequest, *, who: User | None, why: str) -> None:
    """A line on the timeline for what happens within a state."""
    Transition.objects.create(
        noun="changerequest",
        noun_id=change_request.pk,
        before=change_request.state,
        after=change_request.state,
        who=who,
        why=why,
    )


def plan_rows(change_request: ChangeRequest) -> list[PlanRow]:
    """The rows for lists and filters, from the plan as it is now. Reads git: call it outside of a transaction."""
    rows = []
    for item in evaluate(change_request).plan.items:
        rows.append(_row(change_request, item.path, item.operation, item.address))
        if item.old_address is not None:
            rows.append(_row(change_request, item.old_address.path, item.operation, item.old_address))
    return rows


def _row(change_request: ChangeRequest, path: str, operation: str, address: Address | None) -> PlanRow:
    row = PlanRow(change_request=change_request, path=path[:400], operation=operation)
    if address is not None:
        row.team, row.system, row.kind, row.name = address.team, address.system, address.kind, address.name
    return row


def record_plan(change_request: ChangeRequest, rows: list[PlanRow]) -> None:
    """Replace the rows; within the caller's transaction."""
    change_request.plan_rows.all().delete()
    PlanRow.objects.bulk_create(rows, batch_size=500)
