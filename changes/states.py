"""The states of a change request and the moves between them. Pure: no Django queries, no clock."""

from django.db.models import TextChoices


class ChangeRequestState(TextChoices):
    DRAFT = "draft", "Draft"
    OPEN = "open", "Open"
    MERGED = "merged", "Merged"
    WITHDRAWN = "withdrawn", "Withdrawn"
    REJECTED = "rejected", "Rejected"


OPEN_STATES = frozenset({ChangeRequestState.DRAFT, ChangeRequestState.OPEN})
FINAL_STATES = frozenset(ChangeRequestState) - OPEN_STATES

MOVES: dict[str, frozenset[str]] = {
    ChangeRequestState.DRAFT: frozenset({ChangeRequestState.OPEN, ChangeRequestState.WITHDRAWN}),
    ChangeRequestState.OPEN: frozenset(
        {ChangeRequestState.MERGED, ChangeRequestState.WITHDRAWN, ChangeRequestState.REJECTED}
    ),
    ChangeRequestState.MERGED: frozenset(),
    ChangeRequestState.WITHDRAWN: frozenset(),
    ChangeRequestState.REJECTED: frozenset(),
}


class Decision(TextChoices):
    YES = "yes", "Approved"
    NO = "no", "Declined"


class IntentState(TextChoices):
    OPEN = "open", "Open"
    DONE = "done", "Done"
    DROPPED = "dropped", "Dropped"
