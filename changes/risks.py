"""When a change is a risk, as its kind says: on which operation, or on what becomes of a field of the spec.

Pure; knows no kind by name. It must not say whether a change may be made.
"""

import math
import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from changes.comparing import FieldChange, listed
from changes.documents import Json, canonical_json
from changes.kinds import Risk
from changes.schema import values_at

OPERATIONS = ("create", "update", "delete")  # of the whole item; the others look at a field
OF_A_VALUE = ("equals", "contains", "matches")
ON = (*OPERATIONS, "change", "decrease", "increase", *OF_A_VALUE, "absent", "widen", "narrow", "shared")
WHOLE = {"IPv4": 2**32 - 1, "IPv6": 2**128 - 1}  # the last address
PART = 64  # private networks are less than this part of all addresses
PORTS = re.compile(r"\d+(-\d+)?")

Spec = dict[str, Json]


def fields_at_risk(risk: Risk, changes: Iterable[FieldChange]) -> list[FieldChange]:
    """The changes that lie at the risk's field, in it or around it."""
    return [change for change in changes if _met(risk.field, change.field, around=True)]


def holds(risk: Risk, changes: Iterable[FieldChange], before: Spec | None, after: Spec | None) -> bool:
    """Whether a risk of a field holds for what becomes of a spec; None: there is none."""
    if after is None or risk.on == "shared":  # which is a matter of other documents
        return False
    if not _where(risk, after):
        return False
    if risk.on in OF_A_VALUE:
        return _comes(risk, before if before and _where(risk, before) else None, after)
    if risk.on == "absent":
        was = before is None or not _empty(_at(before, risk.field))
        return was and _empty(_at(after, risk.field))
    if before is None:
        return False
    if risk.on in ("widen", "narrow"):
        specs = (before, after) if risk.on == "widen" else (after, before)
        return widens(*(listed(_at(spec, risk.field)) for spec in specs))
    at_field = [change for change in changes if _met(risk.field, change.field, around=False)]
    return any(risk.on == "change" or _moves(risk, change) for change in at_field)


def _met(risk_field: str, field: str, *, around: bool) -> bool:
    """Whether a field of the plan is a risk's field (`servers.*.weight`) or in it; `around`: or the other way round."""
    wanted, parts = ["spec", *risk_field.split(".")], field.split(".")
    return (around or len(parts) >= len(wanted)) and all(w in ("*", p) for w, p in zip(wanted, parts, strict=False))


def _moves(risk: Risk, change: FieldChange) -> bool:
    """Whether a number changes in the risk's direction."""
    before, after = (_number(value, risk.unlimited) for value in (change.before, change.after))
    if before is None or after is None:
        return False
    return after < before if risk.on == "decrease" else after > before


def _number(value: Json, unlimited: Json) -> float | None:
    """`unlimited` is what stands for no limit: a number, or `absent` where the field is left out for it."""
    if unlimited is not None and (value is None or value == unlimited):
        return math.inf
    return value if isinstance(value, (int, float)) else None


def _comes(risk: Risk, before: Spec | None, after: Spec) -> bool:
    """Whether the value is there now and was not before: in the field, or in an item on the way that is new."""
    container, _, inner = risk.field.partition(".*")
    if container == risk.field:
        return _fits(risk, _at(after, risk.field)) and not (before and _fits(risk, _at(before, risk.field)))
    known = {canonical_json(item) for item in _items(_at(before or {}, container))}
    new = [item for item in _items(_at(after, container)) if canonical_json(item) not in known]
    inside = tuple(filter(None, inner.split(".")))
    return any(_fits(risk, value) for item in new for _, value in values_at(item, inside, ""))


def _where(risk: Risk, spec: Spec) -> bool:
    wanted = {field: one if isinstance(one, list) else [one] for field, one in risk.where}
    return all(_at(spec, field) in values for field, values in wanted.items())


def _fits(risk: Risk, value: Json) -> bool:
    if risk.on == "equals":
        return canonical_json(value) == canonical_json(risk.value)
    if risk.on == "contains":
        return risk.value in listed(value) or covers(listed(value), risk.value)
    texts = value if isinstance(value, list) else [value]
    return any(isinstance(text, str) and re.search(str(risk.value), text) for text in texts)


def _at(spec: Spec, field: str) -> Json:
    return next((value for _, value in values_at(spec, tuple(field.split(".")), "")), None)


def _items(value: Json) -> list[Json]:
    return list(value.values()) if isinstance(value, dict) else listed(value)


def _empty(value: Json) -> bool:
    return value is None or value in ("", [], {})


def widens(before: list[Json], after: list[Json]) -> bool:
    """Whether a list of networks (CIDR) or of ports (443, "8000-8010") covers what it did not cover before.

    An empty list means everything. What is neither counts if it is new.
    """
    if not before or not after:
        return bool(before)
    old, new = _spans(before), _spans(after)
    if old is None or new is None:
        return any(value not in before for value in after)
    return not all(any(kind == k and a <= first and last <= b for k, a, b in old) for kind, first, last in new)


def covers(values: list[Json], whole: Json) -> bool:
    """Whether networks together cover one that is none of them by itself, as two halves of the internet do.

    Of the internet a part is enough that is larger than all private networks together.
    """
    spans, wanted = _spans(values), _spans([whole])
    if not spans or not wanted:
        return False
    [(sort, first, last)] = wanted
    if sort in WHOLE and last - first == WHOLE[sort]:
        return sum(b - a + 1 for kind, a, b in spans if kind == sort) > WHOLE[sort] // PART
    return not widens(values, [whole])


def names_over(value: Json) -> list[Json]:
    """A value, and the names with `*.` that stand for it: b.example.com, *.example.com, *.com."""
    parts = value.split(".") if isinstance(value, str) else []
    return list(dict.fromkeys([value, *(f"*.{'.'.join(parts[start:])}" for start in range(1, len(parts)))]))


def _spans(values: list[Json]) -> list[tuple[str, int, int]] | None:
    """Sort, first and last of what is covered, neighbours joined; None if it is no list of networks or of ports."""
    texts = [str(value) for value in values]
    if all(PORTS.fullmatch(text) for text in texts):
        return _joined([(first, last or first) for first, _, last in (text.partition("-") for text in texts)])
    try:
        networks = [ip_network(text, strict=False) for text in texts]
    except ValueError:
        return None
    four = [*collapse_addresses(net for net in networks if isinstance(net, IPv4Network))]
    six = [*collapse_addresses(net for net in networks if isinstance(net, IPv6Network))]
    spans = [("IPv4", int(net[0]), int(net[-1])) for net in four]
    return [*spans, *(("IPv6", int(net[0]), int(net[-1])) for net in six)]


def _joined(ranges: list[tuple[str, str]]) -> list[tuple[str, int, int]]:
    joined: list[tuple[str, int, int]] = []
    for first, last in sorted((int(first), int(last)) for first, last in ranges):
        if joined and first <= joined[-1][2] + 1:
            joined[-1] = ("port", joined[-1][1], max(last, joined[-1][2]))
        else:
            joined.append(("port", first, last))
    return joined
