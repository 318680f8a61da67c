"""What Mergeyard remembers of work: commits seen, rollouts, work items, runs, events, and where each resource stands.

Begins at the merged commit. The rows are the record; the queue only carries ids of systems. A column that is added has
a default in the database or may be empty: workers of the version before go on writing rows.
"""

from typing import Any

from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from changes.models import User, move
from executors.states import (
    ITEM_MOVES,
    RUN_MOVES,
    RUN_OPEN,
    Cause,
    ItemState,
    ResultState,
    RunState,
    SyncState,
)


class Commit(models.Model):
    """A first-parent commit of main in the order it was discovered. Its position orders all work."""

    position = models.BigIntegerField(unique=True)
    sha = models.CharField(max_length=40, unique=True)
    change_request_id = models.BigIntegerField(null=True, blank=True, db_index=True)
    quarantined = models.BooleanField(default=False)  # not a merge of ours: nothing of it runs
    subject = models.CharField(max_length=300, blank=True)
    author = models.CharField(max_length=200, blank=True)
    discovered_at = models.DateTimeField(default=timezone.now)


class Cursor(models.Model):
    """The last discovered commit; one row. Moved in the transaction that records its rollout."""

    sha = models.CharField(max_length=40)
    position = models.BigIntegerField(default=0)
    alarm = models.TextField(blank=True, default="")  # why nothing is discovered, as a sentence; empty if all is well


class Process(models.Model):
    """A controller or a worker, as it last said that it is there."""

    sort = models.CharField(max_length=10)  # controller | worker
    name = models.CharField(max_length=200)  # host:process id
    zone = models.CharField(max_length=63, blank=True)  # of a worker
    contained = models.BooleanField(default=True)  # whether a worker's runs are
    containment = models.CharField(max_length=200, blank=True)  # how, or why not, as a sentence
    trouble = models.TextField(blank=True, db_default="")  # why it takes no work, as a sentence; empty if it does
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())  # by the database's clock

    class Meta:
        constraints = [models.UniqueConstraint(fields=["sort", "name"], name="process_once")]


class Rollout(models.Model):
    """All the work of one cause at one commit."""

    commit = models.ForeignKey(Commit, on_delete=models.PROTECT, related_name="rollouts")
    cause = models.CharField(max_length=20, choices=Cause.choices)
    reason = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["commit"], condition=models.Q(cause="merge"), name="one_merge_rollout_per_commit"
            )
        ]

    @property
    def change_request_id(self) -> int | None:
        """The request that it applies. Only a merge has one: what else runs at a commit is not that commit's wish."""
        return self.commit.change_request_id if self.cause == Cause.MERGE else None

    @property
    def title(self) -> str:
        """What it is about: the commit of a merge says it, of any other cause its own reason."""
        said = self.commit.subject if self.cause == Cause.MERGE else self.reason
        return said or self.get_cause_display()


class WorkItem(models.Model):
    """One system in one wave of one rollout, with its resources."""

    rollout = models.ForeignKey(Rollout, on_delete=models.PROTECT, related_name="items")
    position = models.BigIntegerField()  # of the rollout's commit
    wave = models.PositiveIntegerField()
    system = models.CharField(max_length=63)
    zone = models.CharField(max_length=63)
    state = models.CharField(max_length=20, choices=ItemState.choices, default=ItemState.WAITING)
    reason = models.TextField(blank=True)  # why it is in this state, as a sentence for the page
    attempts = models.PositiveIntegerField(default=0)
    fence = models.PositiveBigIntegerField(default=0)  # counts claims; in the WHERE of every write of a run
    lease_until = models.DateTimeField(null=True, blank=True)
    cancel_requested = models.BooleanField(default=False)
    cancelled_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["wave", "system"]
        constraints = [
            models.UniqueConstraint(
                fields=["system"], condition=models.Q(state="running"), name="one_running_item_per_system"
            ),
            models.UniqueConstraint(fields=["rollout", "system", "wave"], name="one_item_per_system_and_wave"),
        ]
        indexes = [
            models.Index(
                fields=["system", "position", "wave"],
                condition=models.Q(state__in=["waiting", "queued", "running", "asking"]),
                name="open_items_of_system",
            ),
            models.Index(fields=["system", "id"], name="items_of_system"),
        ]

    def move(self, after: str, *, who: User | None = None, why: str = "", **fields: Any) -> None:
        move(self, after, moves=ITEM_MOVES, who=who, why=why, reason=why, **fields)


class ItemNeed(models.Model):
    """`item` may start only when `needs` has ended; within one rollout it must also have succeeded."""

    item = models.ForeignKey(WorkItem, on_delete=models.CASCADE, related_name="needs_rows")
    needs = models.ForeignKey(WorkItem, on_delete=models.CASCADE, related_name="needed_by_rows")
    must_succeed = models.BooleanField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["item", "needs"], name="one_need")]


class ItemReference(models.Model):
    """A thing that documents of an item refer to, or did before it. Who takes that away waits for the item."""

    item = models.ForeignKey(WorkItem, on_delete=models.CASCADE, related_name="references")
    system = models.CharField(max_length=63)
    kind = models.CharField(max_length=63)
    identity = models.CharField(max_length=500)  # canonical JSON
    stays = models.BooleanField()  # the new documents refer to it too

    class Meta:
        indexes = [models.Index(fields=["identity", "item"], name="item_reference_identity")]


class ItemResource(models.Model):
    """One resource of a work item: what it has to become, and what became of it."""

    item = models.ForeignKey(WorkItem, on_delete=models.CASCADE, related_name="resources")
    path = models.CharField(max_length=400)
    old_path = models.CharField(max_length=400, blank=True)  # a Transfer's former path
    kind = models.CharField(max_length=63)
    identity = models.CharField(max_length=500)  # canonical JSON of the remote identity
    operation = models.CharField(max_length=10)  # create | update | transfer | delete | reapply
    blob = models.CharField(max_length=40)  # of the document; for a delete, of the last merged one
    order = models.PositiveIntegerField()  # dependencies first, within the item
    result = models.CharField(max_length=12, choices=ResultState.choices, default=ResultState.PENDING)
    before = models.JSONField(null=True, blank=True)
    after = models.JSONField(null=True, blank=True)
    reasons = models.JSONField(default=list, blank=True)
    message = models.TextField(blank=True)
    digest = models.CharField(max_length=64, blank=True, default="", db_default="")  # of what the play was given of it
    run = models.ForeignKey("Run", null=True, blank=True, on_delete=models.SET_NULL, related_name="results")
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["order"]
        constraints = [models.UniqueConstraint(fields=["item", "path"], name="one_row_per_item_and_path")]
        indexes = [
            models.Index(fields=["path", "id"], name="item_resource_path"),
            models.Index(fields=["identity", "id"], name="item_resource_identity"),
        ]


class Run(models.Model):
    """One attempt at a work item."""

    item = models.ForeignKey(WorkItem, on_delete=models.CASCADE, related_name="runs")
    number = models.PositiveIntegerField()  # the attempt, from 1
    fence = models.PositiveBigIntegerField()
    state = models.CharField(max_length=20, choices=RunState.choices, default=RunState.STARTING)
    worker = models.CharField(max_length=200)
    contained = models.BooleanField(default=False)
    containment = models.CharField(max_length=200, blank=True)  # how, or why not, as a sentence
    catalog_origin = models.CharField(max_length=500, blank=True, default="", db_default="")  # repository and commit
    catalog_digest = models.CharField(max_length=64, blank=True)  # of the system type's folder and the shared plugins
    error = models.TextField(blank=True)  # our own failure, in words
    events = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["item", "number"], name="one_run_per_attempt")]

    @property
    def is_open(self) -> bool:
        return self.state in RUN_OPEN

    def move(self, after: str, *, why: str = "", **fields: Any) -> None:
        if after not in RUN_OPEN:
            fields.setdefault("finished_at", timezone.now())
        move(self, after, moves=RUN_MOVES, why=why, **fields)


class Event(models.Model):
    """One line or result of a run, numbered without gaps within the run from 1."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="event_rows")
    number = models.PositiveIntegerField()
    sort = models.CharField(max_length=10)  # line | task | resource | note
    task = models.CharField(max_length=200, blank=True)
    text = models.TextField(blank=True)
    data = models.JSONField(null=True, blank=True)  # resource: path, kind, status, changed, before, after, reasons
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="one_event_per_number")]


class Resource(models.Model):
    """Where one resource stands: the merged document against what was applied. One row per remote identity."""

    system = models.CharField(max_length=63)
    kind = models.CharField(max_length=63)
    identity = models.CharField(max_length=500)  # canonical JSON
    path = models.CharField(max_length=400, db_index=True)
    team = models.CharField(max_length=63)
    name = models.CharField(max_length=63)
    blob = models.CharField(max_length=40, blank=True)  # of main; empty: no longer wanted
    commit = models.ForeignKey(Commit, null=True, on_delete=models.PROTECT, related_name="+")  # that last changed it
    applied_blob = models.CharField(max_length=40, blank=True)
    applied_commit = models.ForeignKey(Commit, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    ours = models.BooleanField(default=False, db_default=False)  # on the system because of us, or we set out to make it
    applied_position = models.BigIntegerField(default=0)  # commits at or below it are never applied again
    sync = models.CharField(max_length=12, choices=SyncState.choices, default=SyncState.PENDING)
    message = models.TextField(blank=True)
    last_run = models.ForeignKey(Run, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["system", "kind", "identity"], name="one_row_per_remote_identity")
        ]
        indexes = [
            models.Index(fields=["team", "id"], name="resource_team"),
            models.Index(fields=["kind", "id"], name="resource_kind"),
            models.Index(fields=["system", "sync", "id"], name="resource_system"),
        ]


class MadeSecret(models.Model):
    """A value that a worker of a zone made, or set out to make, for a reference; it is never made a second time."""

    zone = models.CharField(max_length=63)
    ref = models.CharField(max_length=300)
    draft = models.CharField(max_length=16, blank=True, default="", db_default="")  # its mark, on the worker's host
    worker = models.CharField(max_length=200)
    made_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["zone", "ref"], name="made_once_per_zone")]
