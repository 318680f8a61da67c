"""How events become lines of a page: colours, nothing else of a terminal, folds, pages, search, download."""

import pytest
from django.utils import timezone

from executors.models import Commit, Event, Rollout, Run, WorkItem
from portal import ansi, log

pytestmark = pytest.mark.django_db


@pytest.fixture
def run():
    commit = Commit.objects.create(position=1, sha="1" * 40)
    rollout = Rollout.objects.create(commit=commit, cause="merge")
    item = WorkItem.objects.create(rollout=rollout, position=1, wave=1, system="shelf-a", zone="default")
    return Run.objects.create(item=item, number=1, fence=1, worker="w", state="running")


def fill(run, *lines, first=1):
    now = timezone.now()
    Event.objects.bulk_create(
        Event(run=run, number=first + index, sort=sort, task=task, text=text, data=data, at=now)
        for index, (sort, task, text, data) in enumerate(lines)
    )


def many(run, count, task="Loop"):
    fill(run, *(("line", task, f"line {n}", None) for n in range(1, count + 1)))


@pytest.mark.threat("web.escapes", "web.overwrite")
@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("plain", [("", "plain")]),
        ("\x1b[31mred\x1b[0m", [("f-1", "red")]),
        ("\x1b[1;92mbright\x1b[22m less", [("a-bold f-10", "bright"), ("f-10", " less")]),
        ("\x1b[44mon blue\x1b[49m", [("b-4", "on blue")]),
        ("\x1b[38;5;196mred\x1b[m", [("f-1", "red")]),
        ("\x1b[38;5;9mlight red", [("f-9", "light red")]),
        ("\x1b[38;2;0;170;0mgreen", [("f-2", "green")]),
        ("\x1b[38;5mnothing", [("", "nothing")]),
        ("\x1b[31", [("", "31")]),
        ("\x1b[99999999999999mx", [("", "x")]),
        ("a\x1b[2Jb\x1b[10;10Hc", [("", "abc")]),
        ("\x1b]0;title\x07x\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", [("", "xlink")]),
        ("\x1bP1$r\x1b\\x\x1b_a\x1b\\y", [("", "xy")]),
        ("bell\x07 back\x08 null\x00", [("", "bell back null")]),
        ("progress 1 %\rprogress 99 %", [("", "progress 99 %")]),
        ("windows\r\n", [("", "windows")]),
        ("user \u202egpj.exe", [("", "user <U+202E>gpj.exe")]),
        ("tab\tstays", [("", "tab\tstays")]),
        ("", []),
    ],
)
def test_sequences_become_classes_or_nothing(text, parts):
    assert ansi.parts(text)[0] == parts


@pytest.mark.threat("web.escapes")
def test_no_escape_character_ever_passes():
    for code in [*range(0x00, 0x20), *range(0x7F, 0xA0)]:
        shown = "".join(text for _, text in ansi.parts(f"a\x1b{chr(code)}31mb{chr(code)}c\x1b")[0])
        assert not set(shown) & ({chr(c) for c in range(0x20)} | {chr(c) for c in range(0x7F, 0xA0)}) - {"\t", "\n"}


@pytest.mark.threat("web.long-line")
def test_a_line_of_a_million_characters_is_cut_and_says_so():
    parts, cut = ansi.parts("\x1b[31m" + "x" * 1_000_000)
    assert sum(len(text) for _, text in parts) == ansi.MAX_SHOWN
    assert cut == 1_000_000 - ansi.MAX_SHOWN


@pytest.mark.threat("web.escapes")
def test_a_flood_of_sequences_makes_few_parts():
    parts, _ = ansi.parts("\x1b[31mx\x1b[32my" * 100_000)
    assert len(parts) <= ansi.MAX_SHOWN


@pytest.mark.parametrize(
    ("sort", "text", "data", "status"),
    [
        ("line", "\x1b[0;33mchanged: [localhost]\x1b[0m", None, "changed"),
        ("line", "fatal: [localhost]: FAILED! => {}", None, "failed"),
        ("line", "skipping: [localhost]", None, "skipped"),
        ("line", "it changed: [nothing]", None, ""),
        ("resource", "", {"status": "unchanged", "path": "p"}, "ok"),
        ("resource", "", {"status": "failed", "path": "p"}, "failed"),
        ("resource", "", {"status": "ok", "changed": True, "path": "p"}, "changed"),
        ("resource", "", {"status": "ok", "changed": False, "path": "p"}, "ok"),
        ("resource", "", {"status": ["x"]}, ""),
        ("resource", "", "text", ""),
    ],
)
def test_outcomes_are_read(sort, text, data, status):
    assert log.status(sort, text, data) == status


@pytest.mark.threat("web.xss")
def test_text_is_never_markup(run):
    fill(run, ("line", "<b>task</b>", "<script>alert(1)</script> \x1b[31m<img src=x>", None))
    html = log.lines_html(log.page(run).folds[0].lines, address="/runs/1/log/")
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;" in html


def test_lines_fold_by_task_and_only_what_matters_is_open(run):
    fill(
        run,
        ("line", "", "before", None),
        ("task", "Read", "TASK [Read]", None),
        ("line", "Read", "ok: [localhost]", None),
        ("task", "Write", "TASK [Write]", None),
        ("resource", "Write", "one", {"status": "changed"}),
        ("resource", "Write", "two", {"status": "failed"}),
        ("task", "Write", "TASK [Write]", None),
        ("line", "Write", "ok: [localhost]", None),
    )
    run.state = "failed"
    folds = log.page(run).folds
    assert [(one.task, len(one.lines), one.status, one.open) for one in folds] == [
        ("", 1, "", True),
        ("Read", 2, "ok", False),
        ("Write", 3, "failed", True),
        ("Write", 2, "ok", False),
    ]
    assert folds[2].counts == "1 failed, 1 changed, 3 lines"


def test_folds_outside_of_tasks_say_what_they_are(run):
    fill(
        run,
        ("note", "", "Attempt 1", None),
        ("line", "", "PLAY [Bring it] ******", None),
        ("task", "Write", "Write", None),
        ("resource", "Write", "", {"status": "ok", "changed": True, "path": "resources/a/b/C/d.yml"}),
        ("line", "Write", "changed: [system]", None),
        ("line", "", "PLAY RECAP *******************", None),
    )
    folds = log.page(run).folds
    assert [one.title for one in folds] == ["Before the first task", "Write", "Play recap"]
    assert folds[1].counts == "1 changed, 3 lines"
    assert folds[0].lines[1]["parts"] == [("", "PLAY [Bring it]")]
    assert folds[2].lines[0]["parts"] == [("", "PLAY RECAP")]


def test_a_failed_resource_is_told_before_what_ansible_makes_of_it(run):
    fill(
        run,
        ("resource", "Write", "No lid.", {"status": "failed", "path": "resources/a/b/C/d.yml", "reasons": []}),
        ("line", "Write", "fatal: [system]: FAILED! => {}", None),
    )
    found = log.failure(run)
    assert "".join(text for _, text in found["parts"]) == "failed a/b/C/d: No lid."
    assert "failed a/b/C/d: No lid." in log.text_chunks(run)[0]


def test_the_task_that_runs_is_open(run):
    fill(run, ("task", "Read", "TASK [Read]", None), ("line", "Read", "ok: [localhost]", None))
    assert log.page(run).folds[-1].open


def test_a_log_opens_at_its_end_and_goes_back_page_by_page(run):
    many(run, 2500)
    end = log.page(run)
    assert (end.first, end.last, end.has_earlier, end.has_later) == (1501, 2500, True, False)
    before = log.page(run, before=end.first)
    assert (before.first, before.last) == (501, 1500)
    begin = log.page(run, before=before.first)
    assert (begin.first, begin.last, begin.has_earlier) == (1, 500, False)
    assert not before.folds[0].begins
    assert begin.folds[0].begins


def test_a_permalink_shows_what_is_around_the_line(run):
    many(run, 5000)
    page = log.page(run, line=3000)
    assert page.first < 3000 < page.last
    assert page.has_later
    assert page.folds[0].open


def test_a_page_asks_the_database_twice_however_long_the_log_is(run, django_assert_num_queries):
    many(run, 3000)
    with django_assert_num_queries(2):
        log.page(run)


def test_search_covers_the_whole_log(run):
    many(run, 3000)
    assert log.search(run, "LINE 299") == (11, [299, *range(2990, 3000)])
    assert log.search(run, "%") == (0, [])


def test_search_finds_what_a_resources_line_says(run):
    data = {"path": "resources/payments/shelf-a/Box/orders.yml", "status": "changed", "reasons": ["it was smaller"]}
    fill(run, ("task", "Write", "Write", None), ("resource", "Write", "", data), ("line", "Write", "ok: [x]", None))
    for words in ("box/orders", "Changed", "was smaller"):
        assert log.search(run, words) == (1, [2]), words
    assert log.search(run, "shelf-b") == (0, [])


def test_the_download_has_every_line_as_plain_text(run):
    fill(run, *(("line", "", f"\x1b[31mline {n}\x1b[0m", None) for n in range(1, 12)))
    text, after = log.text_chunks(run, size=5)
    while after:
        more, after = log.text_chunks(run, after=after, size=5)
        text += more
    assert [line.split(" ", 1)[1] for line in text.splitlines()] == [f"line {n}" for n in range(1, 12)]


def test_the_line_of_a_failure_is_found_behind_later_ones(run):
    fill(
        run,
        ("line", "Write", "fatal: [localhost]: FAILED! => {}", None),
        ("line", "", "PLAY RECAP", None),
    )
    found = log.failure(run)
    assert (found["number"], found["task"]) == (1, "Write")


def test_a_resource_without_words_gets_some(run):
    fill(
        run,
        ("resource", "Write", "", {"status": "changed", "path": "resources/a/b/C/d.yml", "reasons": ["size 1 -> 2"]}),
    )
    fold = log.page(run).folds[0]
    assert fold.counts == "1 changed, 1 line"
    line = fold.lines[0]
    assert line["parts"] == [("s-changed", "changed"), ("", " "), ("", "a/b/C/d: size 1 -> 2")]
