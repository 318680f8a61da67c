"""What Mergeyard remembers of people, change requests and their moves.

Owns the rows up to the merge. Knows no queue and no Ansible; git holds the documents, these rows hold who asked,
who answered, and when.
"""

from typing import Any

from django.contrib.auth.models import AbstractUser
from django.db import models, transaction
from django.utils import timezone

from changes.states import MOVES, ChangeRequestState, Decision, IntentState


class StateConflict(Exception):
    """Somebody else moved the row first, or the move is not in the table; nothing was changed."""


class User(AbstractUser):
    """A person. Teams and rights come from `teams/*.yml` on the main branch, never from this row."""

    @property
    def shown_name(self) -> str:
        return self.get_full_name() or self.username


class AccessToken(models.Model):
    """A person's token for git over HTTP. Only the SHA-256 of the secret is kept."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    title = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True)
    prefix = models.CharField(max_length=12)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)


class Transition(models.Model):
    """One move of state of anything: who, when, from, to, why."""

    noun = models.CharField(max_length=30)
    noun_id = models.BigIntegerField()
    before = models.CharField(max_length=20, blank=True)
    after = models.CharField(max_length=20)
    who = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    why = models.TextField(blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["noun", "noun_id", "id"], name="transition_of")]


def move(
    row: models.Model,
    after: str,
    *,
    moves: dict[str, frozenset[str]],
    who: User | None = None,
    why: str = "",
    **fields: Any,
) -> None:
    """Move a row's `state`: the table, UPDATE with the old state in the WHERE, a Transition row, one transaction.

    `fields` are further columns set by the same UPDATE. Raises StateConflict and changes nothing when the move is not
    allowed or the stored state is not the one in memory.
    """
    before = row.state  # type: ignore[attr-defined]
    noun = row._meta.model_name or ""
    if after not in moves[before]:
        raise StateConflict(f"{noun} {row.pk} cannot go from {before} to {after}")
    with transaction.atomic():
        updated = type(row)._default_manager.filter(pk=row.pk, state=before).update(state=after, **fields)
        if not updated:
            raise StateConflict(f"{noun} {row.pk} is no longer {before}")
        Transition.objects.create(noun=noun, noun_id=row.pk, before=before, after=after, who=who, why=why)
    row.state = after  # type: ignore[attr-defined]
    for name, value in fields.items():
        setattr(row, name, value)


class ChangeRequest(models.Model):
    """A person's wish: a branch that edits files of the state repository. Its number is its primary key."""

    title = models.CharField(max_length=200, blank=True)
    reason = models.TextField(blank=True)
    state = models.CharField(max_length=20, choices=ChangeRequestState.choices, default=ChangeRequestState.DRAFT)
    requester = models.ForeignKey(User, on_delete=models.PROTECT, related_name="change_requests")
    branch = models.CharField(max_length=200, blank=True)  # the full ref name is refs/heads/<branch>
    base = models.CharField(max_length=40, blank=True)  # merge base with main when the head was last looked at
    head = models.CharField(max_length=40, blank=True)
    merge_commit = models.CharField(max_length=40, blank=True, db_index=True)
    reverts = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="reverted_by")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)
    updated_at = models.DateTimeField(auto_now=True)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["branch"],
                condition=models.Q(state="open"),
                name="one_open_request_per_branch",
            )
        ]

    @property
    def number(self) -> int:
        return self.pk

    @property
    def shown_title(self) -> str:
        return self.title or f"Change request {self.pk}"

    def move(self, after: str, *, who: User | None, why: str = "", **fields: Any) -> None:
        if after not in (ChangeRequestState.OPEN,):
            fields.setdefault("closed_at", timezone.now())
        move(self, after, moves=MOVES, who=who, why=why, **fields)


class Edit(models.Model):
    """One file that a draft edits: the new text, or its deletion. The draft lives here until it is proposed."""

    change_request = models.ForeignKey(ChangeRequest, on_delete=models.CASCADE, related_name="edits")
    path = models.CharField(max_length=400)
    text = models.TextField(blank=True)
    deletes = models.BooleanField(default=False)
    base_blob = models.CharField(max_length=40, blank=True)  # the blob the edit started from; empty: a new file
    position = models.PositiveIntegerField(default=0)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["change_request", "path"], name="one_edit_per_path")]
        ordering = ["position", "id"]


class Editor(models.Model):
    """Somebody whose hands were on the branch: author, committer or pusher. They never approve it."""

    change_request = models.ForeignKey(ChangeRequest, on_delete=models.CASCADE, related_name="editors")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["change_request", "user"], name="one_editor_row")]


class PlanRow(models.Model):
    """What a change request touches, recorded when its head is: for lists and filters, never for decisions."""

    change_request = models.ForeignKey(ChangeRequest, on_delete=models.CASCADE, related_name="plan_rows")
    path = models.CharField(max_length=400)
    operation = models.CharField(max_length=20)
    team = models.CharField(max_length=63, blank=True)
    system = models.CharField(max_length=63, blank=True)
    kind = models.CharField(max_length=63, blank=True)
    name = models.CharField(max_length=63, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["team", "change_request"], name="plan_row_team"),
            models.Index(fields=["system", "change_request"], name="plan_row_system"),
            models.Index(fields=["kind", "change_request"], name="plan_row_kind"),
            models.Index(fields=["path", "change_request"], name="plan_row_path"),
        ]


class Approval(models.Model):
    """One person's yes or no to plan items, each named by its SHA-256."""

    change_request = models.ForeignKey(ChangeRequest, on_delete=models.CASCADE, related_name="approvals")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    decision = models.CharField(max_length=3, choices=Decision.choices)
    items = models.JSONField()  # sorted list of SHA-256 hex digests of plan items
    base = models.CharField(max_length=40)
    head = models.CharField(max_length=40)
    comment = models.TextField(blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]


class Comment(models.Model):
    change_request = models.ForeignKey(ChangeRequest, on_delete=models.CASCADE, related_name="comments")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    text = models.TextField()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]


class MergeIntent(models.Model):
    """A merge about to happen: written before the ref moves, closed after it. Discovery knows our merges by it."""

    change_request = models.ForeignKey(
        ChangeRequest, null=True, blank=True, on_delete=models.PROTECT, related_name="intents"
    )  # empty: the first commit made by `manage.py init`
    base = models.CharField(max_length=40)  # main's head that was evaluated
    head = models.CharField(max_length=40)  # the branch head that was evaluated
    commit = models.CharField(max_length=40, unique=True)
    state = models.CharField(max_length=10, choices=IntentState.choices, default=IntentState.OPEN)
    # What was asked for and who gave it: {barred: [user], asked: [{path, sentence, teams, count, given: [user]}]}.
    # Empty: nobody was asked. Whoever set this up vouched for the commit, or its merge is older than this field.
    approvals = models.JSONField(null=True, blank=True)
    by = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(default=timezone.now)
