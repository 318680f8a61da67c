"""Events: masked, numbered without gaps, stored whatever the queue does."""

import base64
import json
import math
import urllib.parse

import pytest

from executors import queues
from executors.claim import claim
from executors.event_writer import EventWriter
from executors.events import MAX_LINE, clean, plain, stream_of
from executors.models import Event
from executors.reconcile import reconcile
from executors.secrets import MASK, Masker
from tests.executors.conftest import box, document

SECRET = 'p/ss "wörd+1'


@pytest.fixture
def run(yard):
    yard.merge({box("orders"): document("Box")})
    while reconcile():
        pass
    return claim("shelf-a", worker="w").run


def test_many_events_from_one_run_have_no_gaps(run):
    writer = EventWriter(run, mask=Masker())
    for number in range(2500):
        writer.write("line", text=f"line {number}")
    writer.finish()
    rows = Event.objects.order_by("number").values_list("number", "text")
    assert list(rows) == [(number + 1, f"line {number}") for number in range(2500)]
    assert queues.redis().xlen(stream_of(run.pk)) == 2500
    run.refresh_from_db()
    assert run.events == 2500


def test_without_the_queue_events_are_in_the_database(run, settings):
    settings.MERGEYARD_REDIS_URL = "unix:///nonexistent/queue.sock"
    writer = EventWriter(run, mask=Masker())
    writer.write("line", text="still here")
    writer.finish()
    assert Event.objects.get().text == "still here"


def test_an_event_of_several_lines_becomes_several(run):
    writer = EventWriter(run, mask=Masker())
    writer.write("line", text="one\r\ntwo\rthree\n")
    writer.finish()
    assert list(Event.objects.values_list("text", flat=True)) == ["one", "two", "three"]


@pytest.mark.threat("worker.secrets")
@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        repr(SECRET),
        urllib.parse.quote(SECRET),
        urllib.parse.quote_plus(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"user:{SECRET}".encode()).decode(),
        base64.b64encode(f"me:{SECRET}:more".encode()).decode(),
    ],
)
def test_no_form_of_a_secret_is_stored(run, form):
    writer = EventWriter(run, mask=Masker([SECRET]))
    writer.write("line", task=f"with {form}", text=f"before {form} after", data={"deep": [{form: form}]})
    writer.finish()
    event = Event.objects.get()
    stored = json.dumps([event.task, event.text, event.data], ensure_ascii=False)
    assert form not in stored
    assert MASK in event.text
    assert "wörd" not in stored


@pytest.mark.threat("worker.secrets")
def test_a_line_is_masked_before_it_is_cut(run):
    value = "0123456789abcdef"
    writer = EventWriter(run, mask=Masker([value]))
    for missing in range(len(value) + 1):
        writer.write("line", task="t" * (200 - missing) + value, text="x" * (MAX_LINE - missing) + value)
    writer.finish()
    for event in Event.objects.all():
        assert "0123" not in event.text + event.task
        assert "cdef" not in event.text + event.task


@pytest.mark.threat("worker.secrets")
def test_control_characters_within_a_secret_do_not_hide_it(run):
    writer = EventWriter(run, mask=Masker([SECRET]))
    writer.write("line", task=f"{SECRET[:3]}\x07{SECRET[3:]}", text=f"{SECRET[:4]}\x1b[2J{SECRET[4:]}")
    writer.finish()
    event = Event.objects.get()
    assert (event.task, event.text) == (MASK, MASK)


@pytest.mark.threat("worker.reports")
def test_data_that_postgresql_cannot_hold_is_mended(run):
    writer = EventWriter(run, mask=Masker())
    writer.write("resource", data={"before": "a\x00b\ud800", "after": [math.nan, math.inf, 1.5]})
    writer.finish()
    mended = "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
    assert Event.objects.get().data == {"before": mended, "after": ["NaN", "Infinity", 1.5]}


@pytest.mark.threat("web.escapes")
def test_only_colours_survive():
    hostile = "\x1b[1;31mx\x1b[0m\x1b[2J\x1b]8;;http://evil\x1b\\y\x1b[?25l\x00z\t"
    assert clean(hostile) == "\x1b[1;31mx\x1b[0myz\t"
    assert plain("\x1b[31ma\x1b[0m\nb") == "a\nb"
