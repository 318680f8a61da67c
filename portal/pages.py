"""Keyset pages: from a row onward, never by OFFSET, never counted. The last page costs what the first one does."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlencode

from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """One page; `older` and `newer` are query strings of its neighbours, empty where there is none."""

    rows: list[Row]
    older: str
    newer: str


def keyset(rows: "QuerySet[Row]", query: Mapping[str, str], *, size: int, field: str, newest_first: bool) -> Page[Row]:
    """The page after `?after=<key>` or before `?back=<key>` of rows ordered by a unique column."""
    onward, backward = ("lt", "gt") if newest_first else ("gt", "lt")
    order = f"-{field}" if newest_first else field
    after, back = _key(query, "from", field), _key(query, "back", field)
    if back is not None:
        reverse = field if newest_first else f"-{field}"
        found = list(rows.filter(**{f"{field}__{backward}": back}).order_by(reverse)[: size + 1])
        more_before, more_after = len(found) > size, True
        found = found[:size][::-1]
    else:
        chosen = rows.filter(**{f"{field}__{onward}": after}) if after is not None else rows
        found = list(chosen.order_by(order)[: size + 1])
        more_before, more_after = after is not None, len(found) > size
        found = found[:size]
    return Page(
        found,
        older=_link(query, "from", getattr(found[-1], field)) if found and more_after else "",
        newer=_link(query, "back", getattr(found[0], field)) if found and more_before else "",
    )


def _key(query: Mapping[str, str], name: str, field: str) -> str | int | None:
    given = query.get(name, "").replace("\0", "")[:500]
    if field != "pk":
        return given or None
    return int(given) if given.isascii() and given.isdigit() and len(given) < 18 else None


def _link(query: Mapping[str, str], name: str, key: object) -> str:
    kept = [(known, value) for known, value in query.items() if known not in ("from", "back") and value]
    return "?" + urlencode([*kept, (name, str(key))])
