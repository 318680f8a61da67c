"""Puts on record what the executors would."""

from executors.models import Commit, ItemResource, Resource, Rollout, Run, WorkItem
from tests.changes.conftest import ORDERS


def record_work(office, request=None, *, states=None, sync="synced", message="", cause=None):
    """A rollout of a commit with one work item and one run for each system."""
    sha = request.merge_commit if request else office.repository.main()
    position = Commit.objects.count() + 1
    commit = Commit.objects.create(position=position, sha=sha, change_request_id=request.pk if request else None)
    reason = "Its disk was new." if cause else ""
    rollout = Rollout.objects.create(commit=commit, cause=cause or ("merge" if request else "initial"), reason=reason)
    for system, state in (states or {"shelf-test": "succeeded"}).items():
        item = WorkItem.objects.create(rollout=rollout, position=position, wave=0, system=system, zone="default")
        WorkItem.objects.filter(pk=item.pk).update(state=state)
        run = Run.objects.create(item=item, number=1, fence=1, worker="w", contained=True, containment="Contained.")
        row = {"path": ORDERS, "kind": "Box", "identity": '{"name":"orders"}'}
        ItemResource.objects.create(item=item, operation="update", blob="b", order=0, run=run, message=message, **row)
        standing = {
            "path": ORDERS, "team": "payments", "name": "orders", "blob": "b", "commit": commit,
            "applied_commit": commit, "sync": sync, "message": message, "last_run": run,
        }  # fmt: skip
        Resource.objects.update_or_create(system=system, kind="Box", identity=row["identity"], defaults=standing)
    return rollout
