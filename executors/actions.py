"""Owns what a person may do to work: try a failed item again, cancel one that waits or runs.

Each verb asks for the rights itself. It must not know pages, Ansible or git.
"""

from django.db import transaction
from django.db.models import Q

from changes.crash_points import crash_point
from changes.models import Transition, User
from executors import order, queues
from executors.claim import DONE_WELL, announce, move_if
from executors.models import ItemNeed, WorkItem
from executors.results import revive_dependents, skip_dependents
from executors.rights import act_rights
from executors.states import ITEM_OPEN, ITEM_READY, ITEM_RETRYABLE, ItemState


class Refused(Exception):
    """One sentence that says why, and who could."""


class NotTheirs(Refused):
    """It is other people's to do."""


def retry(item: WorkItem, user: User) -> None:
    """Try an ended item again, and with it what was skipped because of it. Raises Refused."""
    _check(item, user, "retry")
    why = f"{user.shown_name} tries it again."
    with transaction.atomic():
        if item.state not in ITEM_RETRYABLE:
            raise Refused(f"This work is {item.state}; only failed, cancelled or parked work can be tried again.")
        _can_begin(item)
        afresh = {"attempts": 0, "cancel_requested": False, "cancelled_by": None, "lease_until": None}
        if not move_if(item, ItemState.WAITING, where=Q(), why=why, who=user, **afresh):
            raise Refused("Somebody else acted on this work in the same moment; look at it again.")
        for opened in (item, *revive_dependents(item)):
            order.hold_back_later(opened)
    crash_point("retry: committed")
    queues.wake()


def _can_begin(item: WorkItem) -> None:
    """What rests on work that did not succeed would wait for ever, and hold back what comes after it."""
    needs = ItemNeed.objects.filter(item=item, must_succeed=True).exclude(needs__state__in=(*DONE_WELL, *ITEM_OPEN))
    if (need := needs.select_related("needs").order_by("needs__wave", "needs__system").first()) is not None:
        other = need.needs
        raise Refused(
            f"This work rests on {other.system} (wave {other.wave + 1}), which is {other.state}: try that again first."
        )


def cancel(item: WorkItem, user: User) -> None:
    """Cancel an item: at once if it waits, by its worker within seconds if it runs. Raises Refused."""
    _check(item, user, "cancel")
    why = f"Cancelled by {user.shown_name}."
    with transaction.atomic():
        item.state = WorkItem.objects.select_for_update().get(pk=item.pk).state  # the controller moves it as well
        if item.state in ITEM_READY and move_if(item, ItemState.CANCELLED, where=Q(), why=why, who=user):
            skip_dependents(item)
        elif not _ask_worker(item, user):
            raise Refused("This work has ended, so there is nothing to cancel.")
    crash_point("cancel: committed")
    queues.wake()


def _ask_worker(item: WorkItem, user: User) -> bool:
    """The first who asks is the one who cancelled it, whenever its worker comes to it."""
    running = WorkItem.objects.filter(pk=item.pk, state=ItemState.RUNNING)
    if not running.filter(cancel_requested=False).update(cancel_requested=True, cancelled_by=user):
        return running.exists()
    same = {"before": ItemState.RUNNING, "after": ItemState.RUNNING}
    Transition.objects.create(noun="workitem", noun_id=item.pk, who=user, why="Asked to cancel it.", **same)
    announce(item)
    return True


def _check(item: WorkItem, user: User, verb: str) -> None:
    if not act_rights(user, item.rollout)(item):
        raise NotTheirs(
            f"You may not {verb} this work: that is for the teams whose resources these are, "
            f"the owners of {item.system} and the platform team."
        )
