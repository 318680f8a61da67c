"""The typed filters of search boxes: `team:payments state:open orders` becomes a frozen Filters.

Pure: knows no model and no request. What is not understood is told in a sentence, never ignored silently.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from urllib.parse import urlencode

from changes.documents import did_you_mean

KEYS = ("team", "system", "kind", "by", "state", "before", "after")
MAX_LENGTH = 300
YEARS = range(1970, 3000)  # at the ends of the calendar a day has no midnight in every zone
_TERM = re.compile(r'([a-z]+):("[^"]*"|\S*)|"([^"]*)"|(\S+)')


@dataclass(frozen=True, slots=True)
class Filters:
    team: str = ""
    system: str = ""
    kind: str = ""
    by: str = ""
    state: str = ""
    before: date | None = None
    after: date | None = None
    words: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=(), compare=False)

    @property
    def box(self) -> str:
        """What the search box says when every filter has a field of its own beside it."""
        return " ".join(_term("", word) for word in self.words)

    @property
    def active(self) -> tuple[tuple[str, str], ...]:
        """The filters that are set, as (key, value)."""
        found = [(key, str(getattr(self, key))) for key in KEYS if getattr(self, key)]
        return (*found, *(("", word) for word in self.words))

    @property
    def chips(self) -> tuple[tuple[str, str, str], ...]:
        """The filters that are set, each as (key, value, the page's query without it)."""
        return tuple((*one, _query([two for two in self.active if two != one])) for one in self.active)

    def text(self, *, without: str = "") -> str:
        """The search box that says the same, perhaps without one filter."""
        return " ".join(_term(key, value) for key, value in self.active if key != without or not key)


def _query(terms: Iterable[tuple[str, str]]) -> str:
    terms = list(terms)
    words = " ".join(_term("", word) for key, word in terms if not key)
    return urlencode([*(("q", one) for one in (words,) if one), *((key, value) for key, value in terms if key)])


def _term(key: str, value: str) -> str:
    shown = f'"{value}"' if " " in value else value
    return f"{key}:{shown}" if key else shown


def parse(text: str, *, keys: tuple[str, ...] = KEYS, states: Collection[str] = ()) -> Filters:
    """The filters that a search box says. `states`: those there are on the page; none given, any word is one."""
    found: dict[str, str] = {}
    words: list[str] = []
    problems: list[str] = []
    for key, given, quoted, word in _TERM.findall(text[:MAX_LENGTH]):
        value = given.strip('"')
        if not key:
            words.append(quoted or word)
        elif key not in keys:
            known = ", ".join(f"{name}:" for name in keys)
            problems.append(f"“{key}:” is not a filter here. The filters are {known}.")
        elif value:
            found[key] = value
    days, bad = _days(found)
    plain = {key: value for key, value in found.items() if key not in ("before", "after")}
    if states and plain.get("state", "") not in ("", *states):
        state = plain.pop("state")
        problems.append(f"“state:{state}” is not a state here{did_you_mean(state, states)}")
    return Filters(**plain, **days, words=tuple(filter(None, words)), problems=(*problems, *bad))  # type: ignore[arg-type]


def _days(found: Mapping[str, str]) -> tuple[dict[str, date], list[str]]:
    days: dict[str, date] = {}
    problems: list[str] = []
    for key in ("before", "after"):
        if key in found:
            try:
                day = date.fromisoformat(found[key])
                if day.year not in YEARS:
                    raise ValueError(day)
                days[key] = day
            except ValueError:
                problems.append(f"“{key}:{found[key]}” is not a day. Write it like {key}:2026-11-30.")
    return days, problems


def from_query(query: Mapping[str, str], *, keys: tuple[str, ...] = KEYS, states: Collection[str] = ()) -> Filters:
    """The search box `q`, narrowed by the fields beside it (`?team=…&state=…`)."""
    extra = " ".join(_term(key, query[key].replace('"', "")) for key in keys if query.get(key, "").strip())
    return parse(f"{query.get('q', '')} {extra}".replace("\0", ""), keys=keys, states=states)


def narrowed(filters: Filters, **changes: str) -> Filters:
    return replace(filters, **changes)  # type: ignore[arg-type]
