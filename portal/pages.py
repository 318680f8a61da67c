"""Keyset pages: from a row onward, never by OFFSET, never counted. The last page costs what the first one does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar
from urllib.parse import urlencode

from django.db.models import Model, Q, QuerySet

Shown = TypeVar("Shown")
Row = TypeVar("Row", bound=Model)
Key: TypeAlias = tuple[int, str]  # the primary key of a row, and its value in the column that orders them


@dataclass(frozen=True, slots=True)
class Page(Generic[Shown]):
    """One page; `older` and `newer` are query strings of its neighbours, empty where there is none."""

    rows: list[Shown]
    older: str
    newer: str


def keyset(
    rows: "QuerySet[Row]", query: Mapping[str, str], *, size: int, field: str, newest_first: bool, name: str = ""
) -> Page[Row]:
    """The page after `?from=<key>` or before `?back=<key>` of rows ordered by a column, then by primary key.

    `name` stands before both words where a page has several lists.
    """
    onward, backward = f"{name}from", f"{name}back"
    after, back = _key(query, onward, field), _key(query, backward, field)
    if back is not None:
        found = list(_beyond(rows, back, field, up=newest_first)[: size + 1])
        more_before, more_after = len(found) > size, True
        found = found[:size][::-1]
    else:
        found = list(_beyond(rows, after, field, up=not newest_first)[: size + 1])
        more_before, more_after = after is not None, len(found) > size
        found = found[:size]
    names = (onward, backward)
    return Page(
        found,
        older=link(query, names, onward, _said(found[-1], field)) if found and more_after else "",
        newer=link(query, names, backward, _said(found[0], field)) if found and more_before else "",
    )


def _beyond(rows: "QuerySet[Row]", key: Key | None, field: str, *, up: bool) -> "QuerySet[Row]":
    """What follows a key, up or down."""
    sign, beyond = ("", "gt") if up else ("-", "lt")
    ordered = rows.order_by(*dict.fromkeys((f"{sign}{field}", f"{sign}pk")))
    if key is None:
        return ordered
    pk, value = key
    if field == "pk":
        return ordered.filter(**{f"pk__{beyond}": pk})
    further = Q(**{f"{field}__{beyond}": value}) | Q(**{f"pk__{beyond}": pk})
    return ordered.filter(further, **{f"{field}__{beyond}e": value})


def _key(query: Mapping[str, str], name: str, field: str) -> Key | None:
    number, _, value = query.get(name, "").replace("\0", "")[:600].partition(" ")
    if not (number.isascii() and number.isdigit() and len(number) < 18) or bool(value) == (field == "pk"):
        return None
    return int(number), value


def _said(row: Model, field: str) -> str:
    return str(row.pk) if field == "pk" else f"{row.pk} {getattr(row, field)}"


def link(query: Mapping[str, str], instead: Sequence[str], name: str = "", key: str = "") -> str:
    """This page's query with another place in one of its lists; without a name, its beginning."""
    kept = [(known, value) for known, value in query.items() if known not in instead and value]
    return "?" + urlencode([*kept, *([(name, key)] if name else [])])
