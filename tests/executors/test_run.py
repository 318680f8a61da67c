"""A merged commit becomes work, the work becomes files on the shelf, results and events."""

from executors.models import Commit, Run, WorkItem
from tests.executors.conftest import box, document


def test_a_merged_box_is_put_on_the_shelf(yard):
    yard.roll_out({box("orders"): document("Box", size=5)})
    [item] = yard.items()
    assert (item.state, item.reason) == ("succeeded", "Changed 1 of 1 resources.")
    assert yard.stored("orders") == {"name": "orders", "size": 5, "note": "", "trouble": ""}
    result = yard.result(box("orders"))
    assert (result.result, result.before, result.after["size"]) == ("changed", None, 5)
    resource = yard.resource(box("orders"))
    assert (resource.sync, resource.applied_blob, resource.applied_position) == ("synced", resource.blob, 2)
    run = Run.objects.get()
    assert run.state == "succeeded"
    assert run.contained, run.containment
    events = yard.events()
    assert [event.number for event in events] == list(range(1, run.events + 1))
    assert [event.data["path"] for event in events if event.sort == "resource"] == [box("orders")]
    assert [event.task for event in events if event.sort == "task"][:2] == ["Put labels", "Put boxes"]
