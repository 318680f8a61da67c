"""Hundreds of merges while nobody looks: then two controllers and many jobs come at once."""

import threading
from collections import Counter
from itertools import pairwise

import pytest
from django.db import connection
from django.utils import timezone

from changes.models import MergeIntent
from changes.states import IntentState
from executors import queues
from executors.claim import claim
from executors.models import Commit, Cursor, ItemResource, Rollout, WorkItem
from executors.reconcile import reconcile
from tests.executors.conftest import SHELVES, SOMEBODY, box, document

MERGES, BOXES = 160, 40


def merge_all(yard):
    """Straight into the repository, each with its intent, in one go; their ids in order."""
    repository, shas = yard.repository, [yard.repository.head()]
    for number in range(MERGES):
        path = box(f"box-{number % BOXES}", SHELVES[number % len(SHELVES)])
        sha = repository.commit(
            parents=[shas[-1]],
            base_tree_of=shas[-1],
            changes={path: document("Box", size=number + 1).encode()},
            message=f"Merge {number}\n",
            author=SOMEBODY,
            committer=SOMEBODY,
            when=timezone.now(),
        )
        shas.append(sha)
    done = [MergeIntent(commit=sha, head=sha, base=base, state=IntentState.DONE) for base, sha in pairwise(shas)]
    MergeIntent.objects.bulk_create(done)
    repository.swap_ref("refs/heads/main", shas[-1], shas[0])
    return shas[1:]


@pytest.mark.threat("faults.ten-thousand", "faults.controllers")
def test_many_merges_at_once_are_recorded_once_in_order_and_make_one_job_for_each_system(yard):
    """As many as there is time for here; what thousands take is in docs/faults.md."""
    shas = merge_all(yard)

    def controller():
        try:
            while Cursor.objects.get(pk=1).sha != shas[-1]:
                reconcile()
        finally:
            connection.close()

    both = [threading.Thread(target=controller) for _ in range(2)]
    [one.start() for one in both]
    [one.join() for one in both]
    reconcile()

    recorded = Commit.objects.order_by("position").values_list("sha", "position")
    assert [sha for sha, _ in recorded][-MERGES:] == shas
    assert [position for _, position in recorded] == list(range(1, MERGES + 2))
    assert Rollout.objects.count() == WorkItem.objects.count() == ItemResource.objects.count() == MERGES
    assert Counter(Rollout.objects.values_list("commit__sha", flat=True)) == Counter(shas)
    assert queues.lengths()["default"] == len(SHELVES)
    for shelf in SHELVES:
        first = WorkItem.objects.filter(system=shelf).order_by("position").first()
        assert claim(shelf, worker="one").item == first
        assert claim(shelf, worker="another") is None
    waiting = WorkItem.objects.filter(state="waiting").count()
    assert WorkItem.objects.filter(state="queued").count() == BOXES - len(SHELVES)  # the first of each other box
    assert waiting == MERGES - BOXES
