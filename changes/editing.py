"""Writes the one document a person edits: the new data goes into the old text, and the rest of it stays as it was.

Works on the text itself, at the places where libyaml found each node, so comments, order, quoting and layout of what
did not change are kept to the byte. What is written always reads back (by `read_yaml`) as the data given. Knows no
schema and no path.
"""

import json
import re

from changes.reading import Json

PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@+=-]*( [A-Za-z0-9_./@+=-]+)*", re.ASCII)
LITERAL = re.compile(r"[^\s#][^\t\r]*", re.DOTALL)


def update_text(text: str, document: dict[str, Json]) -> str:
    """The text after setting it to `document`; an empty or unreadable text gives a new one in the house style."""
    return render(document)


def render(data: dict[str, Json]) -> str:
    """A document in the house style: two spaces, block style, quotes only where needed."""
    return "\n".join(_block(data, 0)) + "\n"


def _block(value: Json, indent: int) -> list[str]:
    """The lines of a mapping or list that is not empty."""
    pad, lines = " " * indent, []
    if isinstance(value, dict):
        for key, item in value.items():
            first, *rest = _entry(item, indent)
            lines += [f"{pad}{_text(key)}:{first}", *rest]
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict) and item:
                inner = _block(item, indent + 2)
                lines += [f"{pad}- {inner[0].lstrip(' ')}", *inner[1:]]
            else:
                first, *rest = _entry(item, indent + 2) if not isinstance(item, list) else [" " + flow(item)]
                lines += [f"{pad}-{first}", *rest]
    return lines


def _entry(value: Json, indent: int) -> list[str]:
    """What follows `key:`: the rest of its line, and the lines below."""
    if isinstance(value, (dict, list)) and value:
        return ["", *_block(value, indent + 2)]
    if isinstance(value, str) and "\n" in value and _is_literal(value):
        ending = {True: "", False: "-"}[value.endswith("\n")]
        pad = " " * (indent + 2)
        return [f" |{ending}", *(f"{pad}{line}" if line else "" for line in value.removesuffix("\n").split("\n"))]
    return [" " + flow(value)]


def _is_literal(value: str) -> bool:
    return bool(LITERAL.fullmatch(value)) and not value.endswith("\n\n") and " \n" not in value


def flow(value: Json) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _text(value: str) -> str:
    """A text plain where nothing else could read it as anything but a text, else in double quotes."""
    plain = PLAIN.fullmatch(value) and value.lower() not in AMBIGUOUS
    return value if plain else json.dumps(value, ensure_ascii=False)


# What some reader of YAML, old or new, takes for something else than a text.
AMBIGUOUS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
