"""A run's log for pages: events folded by task, pages by number, search.

Owns how an event is shown. Every text stays text: parts are (classes, text) pairs that templates and the page's script
write as text nodes. Must not know requests, rights or streams.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

from django.db.models import Q
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from executors.events import stored
from executors.models import Event, Run
from portal.ansi import Part, parts, plain

PAGE = 1000
MAX_FOUND = 5000
_STARS = re.compile(r" \*{3,}\s*$")  # Ansible fills its headings up to the width of a terminal
_OUTCOME = re.compile(r"^(ok|changed|failed|fatal|skipping|unreachable): \[")
_OUTCOMES = {
    "ok": "ok",
    "unchanged": "ok",
    "changed": "changed",
    "failed": "failed",
    "fatal": "failed",
    "unreachable": "failed",
    "skipping": "skipped",
    "skipped": "skipped",
}


class Shown(TypedDict):
    """One line as the page's script gets it."""

    run: int
    number: int
    sort: str
    task: str
    status: str
    at: str
    parts: list[Part]
    cut: int


def status(sort: str, text: str, data: object) -> str:
    """ok, changed, failed, skipped, or empty for a line that tells no outcome."""
    told = data.get("status") if isinstance(data, dict) else None
    if isinstance(told, str):
        found = _OUTCOMES.get(told, "")
        return "changed" if found == "ok" and isinstance(data, dict) and data.get("changed") is True else found
    match = _OUTCOME.match(plain(text[:400])) if sort in ("line", "note") else None
    return _OUTCOMES[match[1]] if match else ""


def shown(run: int, entry: dict[str, object] | Event) -> Shown:
    """An event, from the database or as a stream carries it, as pages draw it."""
    if isinstance(entry, Event):
        entry = {
            "number": entry.number,
            "sort": entry.sort,
            "task": entry.task,
            "text": entry.text,
            "data": entry.data,
            "at": entry.at.isoformat(),
        }
    sort, data = str(entry.get("sort", "line")), entry.get("data")
    text = str(entry.get("text") or "")
    outcome = status(sort, text, data)
    if sort == "resource" and isinstance(data, dict) and data.get("path"):
        pieces, cut = parts(_words(data, text))
        pieces = [(f"s-{outcome or 'none'}", outcome or str(data.get("status", ""))), ("", " "), *pieces]
    else:
        pieces, cut = parts(_STARS.sub("", text) if sort == "line" else text or _words(data, ""))
    return {
        "run": run,
        "number": int(str(entry["number"])),
        "sort": sort,
        "task": plain(str(entry.get("task") or ""))[:200],
        "status": outcome,
        "at": str(entry.get("at") or ""),
        "parts": pieces,
        "cut": cut,
    }


def _words(data: object, text: str) -> str:
    """What a resource event says: which resource, and why it was changed or what failed."""
    if not isinstance(data, dict):
        return text
    reasons = data.get("reasons") or []
    told = text or ("; ".join(map(str, reasons)) if isinstance(reasons, list) else str(reasons))
    path = str(data.get("path", "")).removeprefix("resources/").removesuffix(".yml")
    return path + (f": {told}" if told else "")


def title(line: Shown) -> str:
    """The heading of the fold that begins with this line (`title` of live.js says the same)."""
    if line["task"]:
        return line["task"]
    if line["number"] == 1:
        return "Before the first task"
    return "Play recap" if line["parts"] and line["parts"][0][1].startswith("PLAY RECAP") else "Between tasks"


@dataclass(slots=True)
class Fold:
    """Consecutive lines of one task."""

    task: str
    lines: list[Shown]
    begins: bool  # false: the task's beginning lies before this page
    seconds: float = 0.0
    open: bool = False

    @property
    def title(self) -> str:
        return title(self.lines[0])

    @property
    def counts(self) -> str:
        """Of resources where the task reports them: Ansible's own line says the same once more."""
        outcomes = Counter(
            line["status"] for line in [one for one in self.lines if one["sort"] == "resource"] or self.lines
        )
        told = [f"{outcomes[one]} {one}" for one in ("failed", "changed") if outcomes[one]]
        return ", ".join([*told, f"{len(self.lines)} line{'s' if len(self.lines) > 1 else ''}"])

    @property
    def status(self) -> str:
        outcomes = {line["status"] for line in self.lines}
        return next((one for one in ("failed", "changed", "ok", "skipped") if one in outcomes), "")


@dataclass(slots=True)
class Page:
    """A stretch of a run's log without gaps, oldest first."""

    folds: list[Fold]
    first: int
    last: int  # 0: nothing stored yet
    stored: int

    @property
    def has_earlier(self) -> bool:
        return self.first > 1

    @property
    def has_later(self) -> bool:
        return self.last < self.stored


def page(run: Run, *, before: int = 0, after: int = 0, line: int = 0, size: int = PAGE) -> Page:
    """The log's end; or what lies before or after a number; or around a line."""
    last = stored(run.pk)
    if line:
        after = max(line - size // 2, 0)
    rows = Event.objects.filter(run=run)
    if after or line:
        events = list(rows.filter(number__gt=after).order_by("number")[:size])
    else:
        rows = rows.filter(number__lt=before) if before else rows
        events = list(rows.order_by("-number")[:size])[::-1]
    if not events:
        return Page([], 0, 0, last)
    lines = [shown(run.pk, event) for event in events]
    folds = fold(lines)
    for one in folds:
        one.open = one.status in ("failed", "changed") or not one.task
    at_end = lines[-1]["number"] == last
    if at_end and (run.is_open or not any(one.open for one in folds)):
        folds[-1].open = True
    if line:
        for one in folds:
            one.open = one.open or any(found["number"] == line for found in one.lines)
    return Page(folds, lines[0]["number"], lines[-1]["number"], last)


def fold(lines: Iterable[Shown]) -> list[Fold]:
    """Lines grouped by task, each with how long it took, up to the next task's first line."""
    folds: list[Fold] = []
    for line in lines:
        if folds and folds[-1].task == line["task"] and line["sort"] != "task":
            folds[-1].lines.append(line)
        else:
            folds.append(Fold(line["task"], [line], begins=line["sort"] == "task" or line["number"] == 1))
    for this, later in zip(folds, [*folds[1:], None], strict=True):
        end = later.lines[0] if later else this.lines[-1]
        this.seconds = max(_at(end["at"]) - _at(this.lines[0]["at"]), 0.0)
    if len(folds) > 1:
        for one in folds[1:]:
            one.begins = True
    return folds


def _at(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def search(run: Run, words: str) -> tuple[int, list[int]]:
    """(How many lines of the whole stored log hold the words, the numbers of the first ones).

    What a resource event says on the page, its path, outcome and reasons, stands in its data.
    """
    told = Q()
    for name in ("path", "status", "reasons"):
        told |= Q(**{f"data__{name}__icontains": words})
    rows = Event.objects.filter(Q(text__icontains=words) | Q(sort="resource") & told, run=run)
    return rows.count(), list(rows.order_by("number").values_list("number", flat=True)[:MAX_FOUND])


def text_chunks(run: Run, *, after: int = 0, size: int = 2000) -> tuple[str, int]:
    """(The next lines of the log as a text file, the number to go on from; 0 at the end)."""
    events = list(Event.objects.filter(run=run, number__gt=after).order_by("number")[:size])
    text = "".join(_file_line(event) for event in events)
    return text, events[-1].number if len(events) == size else 0


def _file_line(event: Event) -> str:
    words = plain(event.text.rstrip("\r\n").replace("\r", ""))
    if event.sort == "resource" and isinstance(event.data, dict):
        words = (
            f"{status(event.sort, '', event.data) or event.data.get('status', '')} {plain(_words(event.data, words))}"
        )
    return f"{event.at.isoformat(timespec='milliseconds')} {words}\n"


def failure(run: Run) -> Shown | None:
    """The first resource that failed; else the last line that tells of a failure among the last thousand."""
    told = Event.objects.filter(run=run, sort="resource", data__status="failed").order_by("number").first()
    if told is not None:
        return shown(run.pk, told)
    events = Event.objects.filter(run=run).order_by("-number")[:PAGE]
    lines = (shown(run.pk, event) for event in events)
    return next((line for line in lines if line["status"] == "failed"), None)


def lines_html(lines: Iterable[Shown], *, address: str) -> SafeString:
    """The lines as markup, each with its permalink. Built by format_html only: nothing of an event is ever markup."""
    return format_html_join(
        "",
        '<div class="ln" id="r{}-l{}" data-number="{}" data-status="{}" data-sort="{}">'
        '<a class="ln-n" href="{}?line={}#r{}-l{}" aria-label="Line {}">{}</a>'
        '<time class="ln-at" datetime="{}">{}</time><span class="ln-text">{}{}</span></div>',
        (
            (
                line["run"],
                line["number"],
                line["number"],
                line["status"],
                line["sort"],
                address,
                line["number"],
                line["run"],
                line["number"],
                line["number"],
                line["number"],
                line["at"],
                line["at"][11:19],
                format_html_join("", '<span class="{}">{}</span>', line["parts"]),
                _cut(line["cut"]),
            )
            for line in lines
        ),
    )


def _cut(count: int) -> SafeString | str:
    return format_html('<i class="ln-cut"> … {} more characters in the download</i>', count) if count else ""
