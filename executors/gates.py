"""Owns whether what a merge was approved by still holds when its work is about to run.

The merge wrote down what was asked for and whose yes counted, before main moved. Each of them must still be of such a
team, as main has it now, and able to sign in. Somebody who has a say and tries the work again says yes by that. A merge
that nobody wrote down, and a document that nobody was asked about, are refused. It must not know Ansible or the queue.
"""

from collections.abc import Callable
from dataclasses import dataclass

from django.db.models import Exists, Q

from changes.models import MergeIntent, Transition, User
from changes.states import IntentState
from executors.models import WorkItem
from executors.states import ITEM_RETRYABLE, Cause, ItemState

NO_MERGE = (
    "No merge of ours is on record for commit {sha}, so nothing says who approved this. Propose the change again."
)
NOT_ASKED = "Nobody was asked about this document when it was merged, so nobody approved it. Propose the change again."

Members = Callable[[str], frozenset[str]]  # of a team, by its name


@dataclass(frozen=True, slots=True)
class Gates:
    """`refused`: path -> why it is not approved any more. `relied_on`: the people whose yes the others rest on."""

    refused: dict[str, str]
    relied_on: frozenset[str]

    @property
    def still(self) -> Q:
        """What the WHERE of the write that starts the run must hold: nobody of them was shut out meanwhile."""
        return ~Q(Exists(User.objects.filter(username__in=self.relied_on, is_active=False)))


def look(item: WorkItem, members: Members) -> Gates:
    """Only a merge is approved; what else runs at a commit was wanted by somebody with the right to it."""
    if item.rollout.cause != Cause.MERGE:
        return Gates({}, frozenset())
    sha = item.rollout.commit.sha
    paths = set(item.resources.values_list("path", flat=True))
    intent = MergeIntent.objects.filter(commit=sha).exclude(state=IntentState.DROPPED).first()
    if intent is None:
        return Gates(dict.fromkeys(paths, NO_MERGE.format(sha=sha[:10])), frozenset())
    said = intent.approvals
    if said is None:
        return Gates({}, frozenset())
    asked = [each for each in said["asked"] if each["path"] in paths]
    again = _who_tried_again(item) - set(said["barred"])
    able = _able({name for each in asked for name in each["given"]} | again)
    refused = dict.fromkeys(paths - {each["path"] for each in asked}, NOT_ASKED)
    relied_on: set[str] = set()
    for each in asked:
        having = able & frozenset[str]().union(*map(members, each["teams"]))
        standing = having & ({*each["given"]} | again)
        if len(standing) >= each["count"]:
            relied_on |= standing
        else:
            refused.setdefault(each["path"], _sentence(each, gone=sorted({*each["given"]} - having)))
    return Gates(refused, frozenset(relied_on))


def _who_tried_again(item: WorkItem) -> set[str]:
    moves = Transition.objects.filter(noun="workitem", noun_id=item.pk, before__in=ITEM_RETRYABLE)
    names = moves.filter(after=ItemState.WAITING, who__isnull=False).values_list("who__username", flat=True)
    return set(names)


def _able(names: set[str]) -> frozenset[str]:
    return frozenset(User.objects.filter(username__in=names, is_active=True).values_list("username", flat=True))


def _sentence(asked: dict[str, object], *, gone: list[str]) -> str:
    return (
        f"It was approved by {' and '.join(gone)}, who no longer may. {asked['sentence']} has to agree: whoever of "
        "them tries this work again says yes by that."
    )
