"""A merged commit becomes work, the work becomes files on the shelf, results and events."""

import json
import os
import shutil

import pytest

from changes.catalog import digest_of
from changes.models import Transition
from executors import queues
from executors.ansible.play import Play
from executors.events import stream_of
from executors.models import Run
from tests.executors.conftest import box, document, label

HOSTILE = "{{ lookup('pipe', 'touch MARKER') }}{% for x in y %}{# !unsafe"


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
    assert (run.state, run.contained, run.number) == ("succeeded", True, 1)
    assert run.containment.startswith("Contained by bubblewrap")


def test_the_version_of_a_run_is_that_of_the_files_it_used(yard, own_catalog):
    yard.roll_out({box("orders"): document("Box", size=5)})
    book = own_catalog / "shelf" / "apply.yml"
    book.write_text(f"# a new version\n{book.read_text()}")
    yard.roll_out({box("orders"): document("Box", size=6)})
    first, second = Run.objects.order_by("pk")
    assert first.catalog_digest != second.catalog_digest == digest_of(own_catalog / "shelf")
    notes = [[event.text for event in yard.events(run) if event.sort == "note"] for run in (first, second)]
    assert [any("Restart web, controller and workers." in note for note in said) for said in notes] == [False, True]


def test_every_event_is_in_the_database_and_in_the_stream_without_gaps(yard):
    yard.roll_out({box("orders"): document("Box", size=5), label("red"): document("Label", words="Red")})
    run = Run.objects.get()
    events = yard.events(run)
    assert [event.number for event in events] == list(range(1, run.events + 1))
    assert {event.data["path"] for event in events if event.sort == "resource"} == {box("orders"), label("red")}
    assert [event.task for event in events if event.sort == "task"][:2] == ["Put labels", "Put boxes"]
    streamed = queues.redis().xrange(stream_of(run.pk))
    assert [entry.decode() for entry, _ in streamed] == [f"{event.number}-0" for event in events]
    first = json.loads(streamed[0][1][b"e"])
    assert set(first) == {"run", "number", "sort", "task", "text", "data", "at"}


def test_an_update_changes_and_a_delete_removes(yard):
    yard.roll_out({box("orders"): document("Box", size=5)})
    yard.roll_out({box("orders"): document("Box", size=6)})
    assert yard.stored("orders")["size"] == 6
    assert yard.result(box("orders")).before["size"] == 5
    yard.roll_out({box("orders"): None})
    assert yard.stored("orders") is None
    assert yard.resource(box("orders")).sync == "deleted"


@pytest.mark.threat("values.jinja")
def test_a_value_reaches_the_system_literally_and_runs_nothing(yard):
    marker = yard.directory / "shelf-a" / "marker"
    note = HOSTILE.replace("MARKER", str(marker))
    yard.roll_out({box("orders"): document("Box", note=note)})
    assert yard.stored("orders")["note"] == note
    assert yard.result(box("orders")).after["note"] == note
    assert not marker.exists()


@pytest.mark.threat("values.magic")
@pytest.mark.parametrize("name", ["ansible_connection", "ansible_host", "ansible_python_interpreter"])
def test_a_variable_that_ansible_obeys_is_no_field_although_no_check_has_seen_the_document(yard, name):
    marker = yard.directory / "shelf-a" / "marker"
    yard.roll_out({box("orders"): document("Box", **{name: f"touch {marker}"}), box("good"): document("Box")})
    assert f"spec.{name}: There is no field '{name}'" in yard.result(box("orders")).message
    assert (yard.stored("orders"), yard.stored("good")["size"], marker.exists()) == (None, 3, False)


def test_a_failing_resource_does_not_hide_the_others(yard):
    yard.roll_out({box("bad"): document("Box", trouble="fail really"), box("good"): document("Box")})
    [item] = yard.items()
    assert item.state == "failed"
    assert item.reason == "1 of 2 resources failed, first payments/shelf-a/Box/bad: The shelf is full: really"
    assert (yard.result(box("bad")).result, yard.result(box("good")).result) == ("failed", "changed")
    assert (yard.resource(box("bad")).sync, yard.resource(box("good")).sync) == ("failed", "synced")
    assert yard.resource(box("bad")).message == "The shelf is full: really"


def test_a_resource_without_a_word_has_failed(yard):
    yard.roll_out({box("quiet"): document("Box", trouble="silent")})
    assert yard.items()[0].state == "failed"
    assert "without a word about this resource" in yard.result(box("quiet")).message


def test_a_module_hears_what_is_on_the_system_because_of_us(yard):
    def note(size, **more):
        yard.roll_out({box("orders"): json.dumps(json.loads(document("Box", trouble="managed", size=size)) | more)})
        return yard.stored("orders")["note"]

    assert note(1) == "managed False, adopt False"
    assert note(2, adopt=True) == "managed True, adopt True"
    yard.roll_out({box("orders"): None})
    assert note(3) == "managed False, adopt False"


@pytest.mark.threat("faults.kill-play")
def test_what_a_killed_play_set_out_to_create_is_ours(yard):
    yard.roll_out({box("orders"): document("Box", trouble="vanish")})
    assert yard.items()[0].state == "failed"
    assert yard.resource(box("orders")).ours
    assert yard.resource(box("orders")).applied_blob == ""


def test_what_a_killed_play_set_out_to_create_waits_for_a_database_that_is_away(yard, monkeypatch):
    from django.db import OperationalError

    from executors import results

    set_out, tried = results.set_out, []

    def away_at_first(*given):
        tried.append(1)
        if len(tried) < 3:
            raise OperationalError("the database system is starting up")
        set_out(*given)

    monkeypatch.setattr(results, "set_out", away_at_first)
    yard.roll_out({box("orders"): document("Box", trouble="vanish")})
    assert yard.items()[0].state == "failed"
    assert yard.resource(box("orders")).ours
    assert len(tried) == 3


@pytest.mark.parametrize(("seen", "ours"), [("absent", False), ("", True)])
def test_a_creation_that_was_refused_is_ours_only_as_long_as_nobody_saw_that_nothing_is_there(yard, seen, ours):
    yard.roll_out({box("orders"): document("Box", trouble=f"refuse {seen}")})
    assert (yard.result(box("orders")).result, yard.resource(box("orders")).ours) == ("failed", ours)


@pytest.mark.threat("faults.kill-play")
def test_a_playbook_that_is_killed_fails_its_resources(yard):
    yard.roll_out({box("orders"): document("Box", trouble="die")})
    assert yard.items()[0].state == "failed"
    assert Run.objects.get().state == "failed"


@pytest.mark.threat("worker.reports")
def test_reports_that_make_no_sense_become_notes(yard):
    yard.roll_out({box("orders"): document("Box", trouble="garbage")})
    assert yard.items()[0].state == "succeeded"
    notes = [event.text for event in yard.events(sort="note")]
    assert notes[1:] == [
        "A module of the playbook reported something that is not JSON; it is left out.",
        "A module of the playbook reported more than 8000000 bytes; it is left out.",
        "A module of the playbook reported more than 100 levels; it is left out.",
    ]
    result = yard.result(box("orders"))
    assert result.result == "changed"  # of the report that came after them
    assert result.after["note"] == ["NaN", "Infinity", "-Infinity", 1.5]
    assert yard.events(sort="resource")[0].data["after"] == result.after


@pytest.mark.threat("worker.reports")
def test_a_report_that_breaks_whoever_takes_it_becomes_a_note():
    notes = []
    play = Play(None, None, on_line=lambda *said: notes.append(said), on_report=lambda report: 1 / report["by"])
    for by in (1, 0, 1):
        play._reported(json.dumps({"by": by}).encode())
    assert notes == [("note", "", "A module of the playbook reported what could not be taken; it is left out.")]
    os.close(play._wake)
    os.close(play._woken)


@pytest.mark.threat("web.escapes", "web.long-line")
def test_of_escape_sequences_only_colours_stay_and_long_lines_are_cut(yard):
    yard.roll_out({box("orders"): document("Box", trouble="print")})
    [line] = [event.text for event in yard.events(sort="line") if "yyy" in event.text]
    assert line.startswith("\x1b[31mred\x1b[0m yyyy")
    assert line.endswith("more characters)")
    assert len(line) < 20_100
    assert "title" not in line


@pytest.mark.threat("faults.poison")
def test_a_playbook_that_cannot_start_is_our_error_and_is_parked_in_the_end(yard, settings, tmp_path):

    from changes import catalog as catalogs

    broken = tmp_path / "catalog"
    shutil.copytree(settings.MERGEYARD_CATALOG[0], broken)
    (broken / "shelf" / "apply.yml").write_text("- hosts: [")
    settings.MERGEYARD_CATALOG = [broken]
    catalogs.catalog.cache_clear()
    yard.roll_out({box("orders"): document("Box")})
    [item] = yard.items()
    assert (item.state, item.attempts) == ("parked", 3)
    assert [run.state for run in item.runs.order_by("number")] == ["errored"] * 3
    assert "YAML parsing failed" in item.runs.first().error
    assert "\x1b" not in item.runs.first().error


def test_a_system_that_is_not_declared_is_a_sentence(yard):
    yard.roll_out({"resources/payments/nowhere/Box/x.yml": document("Box")})
    [item] = yard.items()
    assert item.state == "failed"
    assert item.reason == "The system nowhere is not declared: there is no systems/nowhere.yml on main."


@pytest.mark.threat("values.paths")
def test_a_directory_outside_of_the_allowed_ones_is_refused(yard, settings):
    settings.MERGEYARD_LOCAL_PATHS = []
    yard.roll_out({box("orders"): document("Box")})
    assert "which is not under MERGEYARD_LOCAL_PATHS" in yard.items()[0].reason
    assert yard.stored("orders") is None


@pytest.mark.threat("worker.leftovers")
def test_nothing_is_left_of_an_attempt(yard):
    yard.roll_out({box("orders"): document("Box")})
    assert yard.attempts() == []


def test_the_end_of_a_run_waits_for_a_database_that_was_away(yard, monkeypatch):
    from django.db import OperationalError

    from executors import results

    record, tried = results.record, []

    def away_at_first(*given, **named):
        tried.append(1)
        if len(tried) < 3:
            raise OperationalError("deadlock detected")
        record(*given, **named)

    monkeypatch.setattr(results, "record", away_at_first)
    yard.roll_out({box("orders"): document("Box", size=5)})
    [item] = yard.items()
    assert (item.state, item.attempts, len(tried)) == ("succeeded", 1, 3)
    assert (yard.result(box("orders")).result, Run.objects.get().state) == ("changed", "succeeded")
    assert Transition.objects.filter(noun="workitem", after="succeeded").count() == 1


def test_an_end_that_cannot_be_recorded_says_why(yard, monkeypatch):
    from executors import results

    monkeypatch.setattr(results, "record", lambda *given, **named: 1 / 0)
    yard.roll_out({box("orders"): document("Box", size=5)})
    [item] = yard.items()
    assert (item.state, item.attempts) == ("parked", 3)
    assert [run.state for run in item.runs.order_by("number")] == ["errored"] * 3
    assert "ZeroDivisionError" in item.runs.first().error


@pytest.mark.threat("worker.secrets")
@pytest.mark.parametrize(("where", "said"), [("preparation.hand_over", "left out"), ("runs.local_paths", "'********'")])
def test_what_breaks_with_a_secret_on_its_lips_is_kept_without_it(yard, monkeypatch, caplog, where, said):
    secret = "correct-horse-battery"
    (yard.directory / "secrets" / "payments").mkdir(parents=True)
    place = yard.directory / "secrets" / "payments" / "lock"
    place.touch(mode=0o600)
    place.write_text(secret)

    def broken(*given, **named):
        try:
            raise KeyError(secret)
        except KeyError as error:
            raise RuntimeError(f"{error} does not fit") from error

    monkeypatch.setattr(f"executors.{where}", broken)
    yard.roll_out({box("orders"): document("Box", secrets={"lock": "file:payments/lock"})})
    errors = [run.error for run in Run.objects.all()]
    assert [run.state for run in Run.objects.all()] == ["errored"] * 3
    assert all("in broken" in error and "RuntimeError" in error and said in error for error in errors)
    assert secret not in "".join([*errors, caplog.text, *Transition.objects.values_list("why", flat=True)])
    assert "in broken" in caplog.text
