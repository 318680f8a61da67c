"""Owns the last look at a value before it becomes part of a server's configuration: its type, its bounds, its alphabet.

Each check raises Refused with the field's place. Pure, and only the standard library; it must not know any system.
"""

from __future__ import annotations

import re
from typing import Any

from ansible.module_utils.mergeyard.pairing import Refused, shown  # type: ignore[import-not-found]

WRONG_PASSWORD = "the password on the system is not the one that is kept for it"
NO_PASSWORD = "its password cannot be compared, as its secret does not exist yet; it is set when there is one"


def remark_on(password: str) -> str:
    """Why a password is set that the system does not hold; one may be missing in check mode only."""
    return WRONG_PASSWORD if password else NO_PASSWORD


def text(at: str, value: object, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Refused(f"{at}: {shown(value)} cannot be written into the configuration.")
    return value


def number(at: str, value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise Refused(f"{at}: must be a number from {low} to {high} (is {shown(value)}).")
    return value


def flag(at: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise Refused(f"{at}: must be true or false (is {shown(value)}).")
    return value


def choice(at: str, value: object, options: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in options:
        raise Refused(f"{at}: {shown(value)} is none of {', '.join(options)}.")
    return value


def known(at: str, value: object, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refused(f"{at}: must be a mapping.")
    if unknown := [key for key in value if key not in keys]:
        raise Refused(f"{at}: there is no field {shown(unknown[0])}.")
    return value


def listed(at: str, value: object) -> list[Any]:
    """A list with at least one entry."""
    if not isinstance(value, list) or not value:
        raise Refused(f"{at}: must have at least one entry.")
    return value


def once(at: str, names: list[str]) -> None:
    """No name stands there twice."""
    if twice := next((name for index, name in enumerate(names) if name in names[:index]), None):
        raise Refused(f"{at}: {twice} is there twice.")
