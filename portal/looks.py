"""How each state looks: a word, a tone and an icon, always the same ones.

Owns the words that pages use for states. Knows no model and no query.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Look:
    word: str
    tone: str  # grey | blue | green | red | amber | violet
    icon: str
    extra: str = ""  # outline | struck
    moving: bool = False


LOOKS: dict[str, Look] = {
    # change requests, and the headline that a page computes from request, review and rollout
    "draft": Look("Draft", "grey", "pencil-line"),
    "open": Look("Open", "blue", "git-pull-request-arrow", "outline"),
    "blocked": Look("Blocked", "red", "octagon-alert", "outline"),
    "review": Look("Waiting for approval", "grey", "hourglass"),
    "ready": Look("Ready to merge", "green", "circle-check", "outline"),
    "merged": Look("Merged", "blue", "git-merge", "outline"),
    "applying": Look("Applying", "blue", "loader-circle", "", True),
    "applied": Look("Applied", "green", "circle-check"),
    "apply-failed": Look("Failed to apply", "red", "circle-x"),
    "withdrawn": Look("Withdrawn", "grey", "undo-2", "struck"),
    "rejected": Look("Rejected", "red", "git-pull-request-closed", "outline"),
    # work items and rollouts
    "waiting": Look("Waiting", "grey", "hourglass"),
    "queued": Look("Queued", "blue", "list-ordered", "outline"),
    "running": Look("Running", "blue", "loader-circle", "", True),
    "asking": Look("Asking", "violet", "message-circle-question-mark"),
    "succeeded": Look("Succeeded", "green", "circle-check"),
    "failed": Look("Failed", "red", "circle-x"),
    "cancelled": Look("Cancelled", "grey", "ban", "struck"),
    "skipped": Look("Skipped", "grey", "skip-forward", "struck"),
    "superseded": Look("Superseded", "grey", "layers-2", "outline"),
    "parked": Look("Parked", "red", "circle-parking", "outline"),
    # runs
    "starting": Look("Starting", "blue", "loader-circle", "", True),
    "errored": Look("Errored", "red", "triangle-alert"),
    "interrupted": Look("Interrupted", "amber", "unplug"),
    # results of one resource
    "pending": Look("Pending", "grey", "hourglass"),
    "changed": Look("Changed", "green", "circle-dot"),
    "unchanged": Look("Unchanged", "grey", "equal"),
    "ok": Look("OK", "green", "check"),
    # where a resource stands
    "synced": Look("In sync", "green", "circle-check"),
    "drifted": Look("Drifted", "amber", "git-compare"),
    "unapproved": Look("Unapproved", "red", "shield-alert", "outline"),
    "deleted": Look("Deleted", "grey", "trash-2", "struck"),
    # answers
    "yes": Look("Approved", "green", "circle-check"),
    "no": Look("Declined", "red", "circle-x", "outline"),
    "met": Look("Given", "green", "circle-check"),
    "needed": Look("Needed", "grey", "circle-dashed"),
}

OPERATIONS: dict[str, Look] = {
    "create": Look("Create", "green", "plus"),
    "update": Look("Change", "blue", "pencil-line"),
    "transfer": Look("Transfer", "violet", "arrow-left-right"),
    "delete": Look("Delete", "red", "trash-2"),
    "reapply": Look("Apply again", "grey", "refresh-cw"),
}


def look_of(name: str) -> Look:
    """The look of a state; one that is not known shows its own name in grey."""
    return LOOKS.get(str(name)) or Look(str(name).replace("-", " ").capitalize(), "grey", "circle-dashed")
