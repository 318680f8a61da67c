"""Plain data as YAML text in the house style: two spaces, block style, quotes only where a reader could err.

Pure. Whatever is written here reads back, by `read_yaml` and by readers of YAML 1.1, as the same text or number.
"""

import json
import re

from changes.comparing import listed
from changes.reading import Json

PLAIN = re.compile(r"(?!.*: )[A-Za-z_/]([A-Za-z0-9_./@+=-]|:(?=[A-Za-z/])| (?=[A-Za-z0-9_./@+=-]))*", re.ASCII)
DURATION = re.compile(r"[1-9][0-9]*[A-Za-z]+", re.ASCII)  # 7d, 10MiB
# What some reader of YAML, old or new, takes for something else than a text.
AMBIGUOUS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
LITERAL = re.compile(r"[^\s#][^\t\r]*", re.DOTALL)


def render(data: Json) -> str:
    """A whole file."""
    if isinstance(data, (dict, list)) and data:
        return "\n".join(block(data, 0)) + "\n"
    return flow(data) + "\n"


def block(value: Json, indent: int) -> list[str]:
    """The lines of a mapping or list that is not empty."""
    pad = " " * indent
    if isinstance(value, dict):
        parts = [(f"{pad}{text(key)}:", after_key(item, indent)) for key, item in value.items()]
    else:
        parts = [(f"{pad}-", after_dash(item, indent)) for item in listed(value)]
    return [line for start, (first, *rest) in parts for line in (start + first, *rest)]


def after_key(value: Json, indent: int) -> list[str]:
    """What follows `key:` in a mapping at `indent`: the rest of its line, and the lines below."""
    if isinstance(value, (dict, list)) and value:
        return ["", *block(value, indent + 2)]
    if isinstance(value, str) and "\n" in value and _is_literal(value):
        pad = " " * (indent + 2)
        lines = value.removesuffix("\n").split("\n")
        return [" |" if value.endswith("\n") else " |-", *(f"{pad}{line}" if line else "" for line in lines)]
    return [" " + flow(value)]


def after_dash(value: Json, indent: int) -> list[str]:
    """What follows the `-` of a list at `indent`."""
    if isinstance(value, (dict, list)) and value:
        first, *rest = block(value, indent + 2)
        return [" " + first.lstrip(" "), *rest]
    return after_key(value, indent)


def flow(value: Json) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{text(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return text(value) if isinstance(value, str) else json.dumps(value)


def text(value: str, style: str | None = None) -> str:
    """A text in the quotes it had (`style`), else plain where nothing reads it as anything but a text."""
    if style == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    plain = (PLAIN.fullmatch(value) and value.lower() not in AMBIGUOUS) or DURATION.fullmatch(value)
    return value if plain and style != '"' else json.dumps(value, ensure_ascii=False)


def _is_literal(value: str) -> bool:
    return bool(LITERAL.fullmatch(value)) and not value.endswith("\n\n") and " \n" not in f"{value}\n"
