"""Signed-in readers of a small company's portal, and work that has been done there."""

import pytest
from django.test import Client

from executors.models import Commit, ItemResource, Resource, Rollout, Run, WorkItem
from tests.changes.conftest import ORDERS, office, small_catalog

__all__ = ["office", "small_catalog"]


@pytest.fixture(autouse=True)
def static_root(settings, tmp_path):
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STATIC_ROOT.mkdir()


@pytest.fixture
def reader(office):
    """A browser of one of the office's people."""

    def signed_in(username):
        client = Client()
        client.force_login(getattr(office, username))
        return client

    return signed_in


@pytest.fixture
def work(office):
    """Puts on record what the executors would: a rollout of a commit with one work item for each system."""

    def recorded(request=None, *, states=None, sync="synced", message=""):
        sha = request.merge_commit if request else office.repository.main()
        position = Commit.objects.count() + 1
        commit = Commit.objects.create(position=position, sha=sha, change_request_id=request.pk if request else None)
        rollout = Rollout.objects.create(commit=commit, cause="merge" if request else "initial")
        for system, state in (states or {"shelf-test": "succeeded"}).items():
            item = WorkItem.objects.create(rollout=rollout, position=position, wave=0, system=system, zone="default")
            WorkItem.objects.filter(pk=item.pk).update(state=state)
            run = Run.objects.create(item=item, number=1, fence=1, worker="w", contained=True, containment="Contained.")
            row = {"path": ORDERS, "kind": "Box", "identity": '{"name":"orders"}'}
            ItemResource.objects.create(
                item=item, operation="update", blob="b", order=0, run=run, message=message, **row
            )
            Resource.objects.update_or_create(
                system=system, kind="Box", identity=row["identity"],
                defaults={
                    "path": ORDERS, "team": "payments", "name": "orders", "blob": "b", "commit": commit,
                    "applied_commit": commit, "sync": sync, "message": message, "last_run": run,
                },
            )  # fmt: skip
        return rollout

    return recorded
