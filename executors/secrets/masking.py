"""Owns what a secret looks like in all its forms, and takes it out of everything that is kept or shown."""

import base64
import json
import re
import urllib.parse
from collections.abc import Iterable

MASK = "********"
MIN_LENGTH = 4  # a shorter value could not be masked without making every line unreadable


def can_be_masked(value: str) -> bool:
    """A text of many short lines is seen line by line, and each would be too short."""
    return any(len(line.strip()) >= MIN_LENGTH for line in value.splitlines())


class Masker:
    """Replaces every form in which a known secret may appear: plain, base64, URL-quoted, JSON-escaped, line by line."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = {form for value in values for form in _forms(value)}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def text(self, text: str) -> str:
        return self._pattern.sub(MASK, text) if self._pattern else text

    def data(self, value: object) -> object:
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.data(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.data(inner) for inner in value]
        if isinstance(value, (int, float)) and not isinstance(value, bool) and self._pattern.search(str(value)):
            return MASK
        return value


def _forms(value: str) -> set[str]:
    whole = [value, *(line.strip() for line in value.splitlines() if len(line.strip()) >= 2 * MIN_LENGTH)]
    forms: set[str] = set()
    for part in whole:
        escaped = json.dumps(part)[1:-1]
        forms |= {part, escaped, escaped.replace("/", "\\/"), json.dumps(part, ensure_ascii=False)[1:-1]}
        quoted = urllib.parse.quote
        forms |= {repr(part)[1:-1], quoted(part), quoted(part, safe=""), urllib.parse.quote_plus(part)}
        forms |= _base64_forms(part.encode())
    return {form for form in forms if len(form) >= MIN_LENGTH}


def _base64_forms(data: bytes) -> set[str]:
    """Base64 of the value alone, and of the value somewhere within more text: its middle at each of three offsets."""
    forms: set[str] = set()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        forms |= {encode(data).decode(), encode(data).decode().rstrip("=")}
        for offset in range(3):
            text = encode(bytes(offset) + data).decode()
            middle = text[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6]
            if len(middle) >= 2 * MIN_LENGTH:
                forms.add(middle)
    return forms
