"""Whatever prints a secret, however: nothing of it is left. Its forms are made by the tools that make them."""

import base64
import csv
import html
import io
import json
import re
import shlex
import subprocess
import textwrap
import time
import urllib.parse
import xml.sax.saxutils
from types import SimpleNamespace

import pytest
import yaml
from ansible.utils.color import stringc
from ansible_runner.utils import OutputEventFilter
from django.utils.html import escape
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from executors.ansible.play import MAX_TROUBLE, Play
from executors.secrets import MASK, Masker
from executors.secrets.masking import can_be_masked

BEFORE, AFTER = "\N{BLACK RIGHT-POINTING TRIANGLE}", "\N{BLACK LEFT-POINTING TRIANGLE}"
LETTERS = st.characters(codec="utf-8", categories=("L", "N", "P", "S"), exclude_characters=BEFORE + AFTER)
WORDS = st.text(
    st.sampled_from("abcXYZ0189 '\"\\/&<>%+=-_.:;,$`#{}[]!?@|~^()éß€\N{GRINNING FACE}") | LETTERS, min_size=4
)
VALUES = WORDS.map(str.strip).filter(lambda value: len(value) >= 4)
SEVERAL = st.lists(VALUES, min_size=2, max_size=4).map("\n".join)


def yaml_of(value):
    return yaml.safe_dump({"a": [value]}, allow_unicode=True)[len("a:\n- ") :]


def csv_of(value):
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerow([value])
    return text.getvalue()[1:-3]


def percent_lower(value):
    return re.sub("%..", lambda found: found[0].lower(), urllib.parse.quote(value, safe=""))


FORMS = {
    "plain": str,
    "json": json.dumps,
    "json with letters": lambda value: json.dumps(value, ensure_ascii=False),
    "json in json": lambda value: json.dumps(json.dumps({"a": value})),
    "json for pages": lambda value: json.dumps(value).translate({38: r"\u0026", 60: r"\u003c", 62: r"\u003e"}),
    "json of php": lambda value: json.dumps(value).replace("/", "\\/"),
    "python": repr,
    "python bytes": lambda value: repr(value.encode()),
    "python in json": lambda value: json.dumps(repr([value]), ensure_ascii=False),
    "python in a text": lambda value: repr(f"\"'{value}"),
    "json in python": lambda value: repr(json.dumps({"a": value, "b": "'"})),
    "json in base64": lambda value: base64.b64encode(json.dumps(value)[1:-1].encode()).decode(),
    "python in a list": lambda value: repr([{"a": value}]),
    "yaml": yaml_of,
    "yaml in ascii": lambda value: yaml.safe_dump([value]),
    "yaml in quotes": lambda value: yaml.safe_dump(value, default_style="'", allow_unicode=True),
    "shell": shlex.quote,
    "shell with backslashes": lambda value: "'" + value.replace("'", "'\\''") + "'",
    "sql": lambda value: value.replace("'", "''"),
    "csv": csv_of,
    "html": html.escape,
    "html of a template": escape,
    "xml": lambda value: xml.sax.saxutils.escape(value, {'"': "&quot;", "'": "&apos;"}),
    "url": urllib.parse.quote,
    "url part": lambda value: urllib.parse.quote(value, safe=""),
    "url in lower case": percent_lower,
    "form": lambda value: urllib.parse.urlencode({"a": value}),
    "url of a browser": lambda value: urllib.parse.quote(value, safe="!~*'()"),
    "hex": lambda value: value.encode().hex(),
    "HEX": lambda value: value.encode().hex().upper(),
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 for urls": lambda value: base64.urlsafe_b64encode(value.encode()).decode().rstrip("="),
    "base64 in mail": lambda value: base64.encodebytes(value.encode()).decode(),
    "base64 in json": lambda value: json.dumps(base64.encodebytes(value.encode()).decode()),
    "coloured": lambda value: stringc(value, "red"),
}


@pytest.mark.threat("worker.secrets")
@settings(max_examples=40, deadline=None)
@given(VALUES | SEVERAL)
@example("p/ss 'wörd\"+1 <&> \\n$`x`")
@example("line one\nline 'two'\nend\\")
@example("x" * 200 + " long words " * 12)
def test_no_form_of_a_value_is_left(value):
    masker = Masker([value])
    for name, form in FORMS.items():
        printed = form(value)
        masked = masker.text(f"{BEFORE}{printed}{AFTER}")
        assert MASK in masked, (name, printed)
        rest = masked.strip(BEFORE + AFTER).replace(MASK, "")
        assert len(re.sub(r"\x1b\[[0-9;]*m|[\s'\"\\{}\[\]:,=|>+-]", "", rest)) <= 3, (name, printed, masked)


@pytest.mark.threat("worker.secrets")
@settings(max_examples=40, deadline=None)
@given(VALUES, st.binary(max_size=4), st.binary(max_size=4))
def test_base64_of_a_text_with_a_value_in_it_shows_nothing_of_it(value, before, after):
    whole = base64.b64encode(before + value.encode() + after).decode()
    masked = Masker([value]).text(whole)
    assert MASK in masked
    seen = b"".join(
        base64.b64decode(part + "=" * (-len(part) % 4) if len(part) % 4 != 1 else part[:-1])
        for part in masked.split(MASK)[:1]
    )
    assert value.encode()[:4] not in seen


@pytest.mark.threat("worker.secrets")
@settings(max_examples=100, deadline=None)
@given(
    VALUES,
    st.lists(st.integers(0, 300), max_size=6),
    st.sampled_from(["\n", "\r\n", "\n    ", "\x1b[0m\n\x1b[31m", "\\n"]),
)
def test_a_value_that_is_broken_over_lines_is_found(value, places, end):
    assume(len(re.sub(r"\s", "", value)) >= 4)
    assume(end != "\\n" or "\\" not in value)  # who could say what is whose
    broken = value
    for place in sorted((1 + place % (len(value) - 1) for place in places), reverse=True):
        broken = broken[:place] + end + broken[place:]
    assert Masker([value]).text(f"{BEFORE}{broken}{AFTER}") == f"{BEFORE}{MASK}{AFTER}"


def test_a_value_that_is_wrapped_between_its_words_is_found():
    value = "correct horse battery staple"
    assert Masker([value]).text(textwrap.fill(f"it is {value}", 20)) == f"it is {MASK}"


@pytest.mark.threat("worker.secrets")
def test_overlapping_values_leave_no_rest():
    assert Masker(["abcdef", "defghi"]).text("xabcdefghix") == f"x{MASK}x"
    assert Masker(["aaaa"]).text("xaaaaaax") == f"x{MASK}x"


def test_a_shell_quotes_it_as_it_likes():
    value = "a b$c'd\"e\\f;g*h`i`&(j)"
    printed = subprocess.run(["bash", "-c", 'printf %q "$1"', "-", value], capture_output=True, text=True).stdout
    assert Masker([value]).text(printed) == MASK


@pytest.mark.threat("worker.secrets")
def test_a_key_is_masked_line_by_line_and_short_lines_with_the_others():
    key = "-----BEGIN KEY-----\nabcdefghijkl\nmnop\nq=\n-----END KEY-----"
    masker = Masker([key])
    assert [masker.text(line) for line in key.splitlines()] == [MASK, MASK, MASK, "q=", MASK]
    assert masker.text(f"it is {key}, is it?") == f"it is {MASK}, is it?"
    assert not can_be_masked("ab\ncd\nef")


def test_many_values_cost_no_more_than_few():
    line = "ok: [system] => an ordinary line of some output with a hundred letters or so, and more of them in it"

    def seconds(count):
        masker = Masker(f"value-{number}-of-many" for number in range(count))
        begun = time.process_time()
        for _ in range(200):
            masker.text(line)
        return time.process_time() - begun

    assert min(seconds(2000) for _ in range(3)) < 20 * min(seconds(1) for _ in range(3))


@pytest.mark.threat("worker.secrets")
def test_what_the_runner_said_is_cut_between_lines():
    value = "0123456789abcdef"
    for after in range(40):
        play = Play(None, None, on_line=print, on_report=print)
        play._process = SimpleNamespace(stderr=[f"{value}\n", "x" * (MAX_TROUBLE - after) + "\n"])
        play._read_trouble()
        assert ("ef" in play.ending.trouble) is (value in play.ending.trouble), after
        assert play.ending.trouble.endswith("x\n") == bool(after)


@pytest.mark.threat("worker.secrets")
def test_a_line_that_comes_in_pieces_is_one_line():
    """What the play prints is read in chunks of any size; only whole lines are handed on."""
    value, heard = "0123456789abcdef", []
    reader = OutputEventFilter(io.StringIO(), lambda event: heard.append(event.get("stdout", "")), True)
    for piece in re.findall("(?s).{1,5}", f"before {value} after\n{value}\n"):
        reader.write(piece)
    reader.close()
    assert [Masker([value]).text(line) for line in heard if line] == [f"before {MASK} after", MASK]


@pytest.mark.parametrize("text", [" " * 400_000, "\n" * 400_000, "\\n" * 200_000, " \n" * 200_000, "\x1b[0m" * 100_000])
def test_hostile_text_is_searched_in_no_time(text):
    begun = time.process_time()
    Masker(["a secret"]).text(text + "\\")
    assert time.process_time() - begun < 2
