"""What every resource module tells the worker when its system, or it itself, goes wrong. The system is a set."""

import ansible.module_utils
import pytest

from tests.systems.catalogue import PLAYBOOKS

ansible.module_utils.__path__.append(str(PLAYBOOKS / "plugins" / "module_utils"))

from ansible.module_utils.mergeyard.action import ModuleAction, ResourceAction  # noqa: E402
from ansible.module_utils.mergeyard.pairing import Found, Resource, SystemDown, Unsure  # noqa: E402

ONE, TWO = (Resource(f"team/shelf/Box/{name}", {"name": name}) for name in ("one", "two"))


class Boxes(ResourceAction):
    KIND, MARKED, check = "Box", False, False

    def __init__(self, failures, *, leaves=(), falls=""):
        self.failures, self.leaves, self.falls = failures, leaves, falls
        self.there, self.not_made, self.said = set(), [], []
        self.pipe = self

    def send(self, event):
        self.said.append(event)

    def open(self):
        if self.falls == "at last" and self.said:
            raise SystemDown("It is away.")

    def close(self):
        """Nothing is held open here."""

    def read(self, resources):
        return {(name,): Found({"name": name}) for name in self.there}

    def after(self, resource, found):
        return resource.spec

    def write(self, outcomes):
        for outcome in outcomes:
            name = outcome.resource.spec["name"]
            if name in self.leaves:
                self.there.add(name)
            yield outcome, self.failures[name]
        if self.falls == "meanwhile":
            raise SystemDown("It went away.")

    def gather(self):
        raise ZeroDivisionError("apples")


@pytest.mark.parametrize(
    ("failures", "how", "absent"),
    [
        ({"one": "No.", "two": ""}, {}, [ONE.path]),
        ({"one": "No.", "two": "No."}, {"leaves": ["two"]}, [ONE.path]),
        ({"one": Unsure("It did not answer."), "two": "No."}, {}, [TWO.path]),
        ({"one": "No.", "two": ""}, {"falls": "at last"}, []),
        ({"one": "No.", "two": ""}, {"falls": "meanwhile"}, []),
    ],
)
def test_only_what_the_system_refused_to_make_and_does_not_have_is_told_to_be_absent(failures, how, absent):
    boxes = Boxes(failures, **how)
    outcomes = list(boxes.outcomes([ONE, TWO], "replaced"))
    boxes.look_again()
    assert [outcome.failure for outcome in outcomes] == [*failures.values()]
    told = [event for event in boxes.said if event["event"] != "resource"]
    assert [event["paths"] for event in told if event["event"] == "creating"] == [[ONE.path, TWO.path]]
    assert [path for event in told if event["event"] == "absent" for path in event["paths"]] == absent


class FarBoxes(ModuleAction):
    """Its module, which works where the boxes are, is a set too."""

    KIND, MARKED, check = "Box", False, False

    def __init__(self, failures, *, leaves=(), later=""):
        self.failures, self.leaves, self.later = failures, leaves, later
        self.there, self.not_made, self.said, self.calls = set(), [], [], []
        self.pipe = self

    send = Boxes.send

    def open(self):
        """Nothing was missed by an earlier call."""

    def module(self, state, config, *, check):
        self.calls.append((state, check))
        return [self.result(item["path"], item["spec"], check=check) for item in config]

    def result(self, path, spec, *, check):
        failure = self.failures[spec["name"]] if not check else self.later if len(self.calls) > 2 else ""
        before = spec if spec["name"] in self.there else None
        if not check and (not failure or spec["name"] in self.leaves):
            self.there.add(spec["name"])
        changed = not failure and before is None
        return {"path": path, "before": before, "after": spec, "reasons": [], "changed": changed, "message": failure}


@pytest.mark.parametrize(
    ("failures", "how", "absent"),
    [
        ({"one": "No.", "two": ""}, {}, [ONE.path]),
        ({"one": "No.", "two": "No."}, {"leaves": ["two"]}, [ONE.path]),
        ({"one": "No.", "two": ""}, {"later": "It is not managed here."}, []),
        ({"one": "", "two": ""}, {}, []),
    ],
)
def test_a_module_beside_the_system_is_asked_again_what_it_made_without_changing_anything(failures, how, absent):
    boxes = FarBoxes(failures, **how)
    outcomes = list(boxes.outcomes([ONE, TWO], "replaced"))
    boxes.look_again()
    assert [outcome.failure for outcome in outcomes] == [*failures.values()]
    assert [event["paths"] for event in boxes.said if event["event"] == "creating"] == [[ONE.path, TWO.path]]
    assert [path for event in boxes.said if event["event"] == "absent" for path in event["paths"]] == absent
    again = [("replaced", True)] if any(failures.values()) else []
    assert boxes.calls == [("replaced", True), ("replaced", False), *again]


@pytest.mark.parametrize(("pipe", "told"), [(-1, [ONE.path, TWO.path]), (3, None)])
def test_a_task_tells_resources_in_its_result_only_where_nobody_reads_its_events(pipe, told):
    """Who starts a play by hand reads the result; a worker reads events, and its log is spared a thousand documents."""
    boxes = Boxes({"one": "", "two": "No."})
    boxes.TOLD, boxes.fd = ("name", "colour"), pipe
    result = boxes.summary(list(boxes.outcomes([ONE, TWO], "replaced")))
    assert (result["changed"], result["failed"]) == (True, True)
    assert (result["made"], result["gone"]) == ([["one", None]], [])
    assert [event["path"] for event in result["resources"]] == told if told else "resources" not in result


def test_a_module_that_breaks_while_it_lists_says_so_in_a_sentence():
    said = Boxes({}).report_gathered()
    assert said["failed"]
    assert said["msg"] == "The Box module stopped here by a mistake of its own (ZeroDivisionError: apples)."
