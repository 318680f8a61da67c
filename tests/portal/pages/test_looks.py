"""The tags of the design system."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from changes.catalog import catalog
from changes.states import ChangeRequestState
from executors.states import ItemState, ResultState, RunState, SyncState
from portal.filters import parse
from portal.looks import LOOKS, OPERATIONS
from portal.templatetags import mergeyard as tags

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("states", [ChangeRequestState, ItemState, RunState, ResultState, SyncState])
def test_every_state_has_a_look(states):
    assert set(states.values) <= set(LOOKS)


def test_every_icon_that_is_named_is_in_the_sprite():
    named = {look.icon for look in (*LOOKS.values(), *OPERATIONS.values())}
    known = catalog()
    named |= {type.icon for type in known.types.values()} | {kind.icon for kind in known.kinds.values() if kind.icon}
    for template in ROOT.glob("templates/**/*.html"):
        named |= set(re.findall(r"{% icon ['\"]([^'\"]+)", template.read_text()))
    for file in [*ROOT.glob("playbooks/*/system.yml"), *ROOT.glob("playbooks/*/kinds/*.yml")]:
        named |= set(re.findall(r"^icon: (\S+)", file.read_text(), re.MULTILINE))
    assert len(named) > 60
    assert named <= tags.icon_names()


def test_no_two_states_of_one_noun_look_alike():
    for states in (ItemState, RunState, SyncState):
        looks = [(LOOKS[state].tone, LOOKS[state].icon, LOOKS[state].word) for state in states.values]
        assert len(set(looks)) == len(looks)


@pytest.mark.parametrize(
    ("ago", "words"),
    [(10, "just now"), (120, "2 min ago"), (7200, "2 h ago"), (3 * 86400, "3 d ago"), (-600, "in 10 min")],
)
def test_times_are_short(ago, words):
    now = datetime(2026, 6, 1, tzinfo=UTC)
    assert tags.relative(now - timedelta(seconds=ago), now) == words


@pytest.mark.parametrize(("seconds", "words"), [(0.43, "0.4 s"), (12, "12 s"), (185, "3 min 5 s"), (7440, "2 h 4 min")])
def test_durations_are_short(seconds, words):
    assert tags.duration(seconds) == words


@pytest.mark.parametrize("hidden", ["\u202e", "\u200b", "\ufeff", "\u00a0", "\x1b", "\u2066"])
def test_what_hides_is_drawn(hidden):
    assert f"U+{ord(hidden):04X}" in tags.visible(f"a{hidden}b")


def test_visible_text_is_escaped():
    assert tags.visible("<b>") == "&lt;b&gt;"
    assert "<b>" not in tags.yaml_line("key: <b> # <i>")


def test_a_line_of_yaml_keeps_every_character():
    for line in ("key: value # note", "  - a: b", "# all note", "a:b", "url: http://x#y", "", "- 'x: y'"):
        text = re.sub(r"<[^>]*>", "", tags.yaml_line(line)).replace("&#x27;", "'")
        assert text == line


def test_filters_read_what_they_write():
    filters = parse('team:payments state:open "two words" orders')
    assert filters.team == "payments"
    assert filters.words == ("two words", "orders")
    assert parse(filters.text()) == filters
