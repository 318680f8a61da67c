"""Owns what a secret looks like in all its forms, and takes it out of everything that is kept or shown.

A form is found wherever it stands: within a longer text, broken over lines, with colours in between. Text is masked
before it is cut, split or stored. It must not know where secrets come from.
"""

import base64
import bisect
import html
import json
import re
import urllib.parse
from collections.abc import Iterable, Iterator

import yaml

MASK = "********"
MIN_LENGTH = 4  # a shorter value could not be masked without making every line unreadable

# What may come between two characters of a secret: a colour, or where lines end, any white space: a text that was
# folded lost some and got some. The ends may be escaped too, and YAML's folded quotes have backslashes there.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_END = re.compile(r"[\r\n]|\\[rn]")
_SPACES = (re.compile(r"[ \t\r\n]+"), re.compile(r"(?:\\?[\r\n]|\\[rn]|[ \t]|\\(?=[ \t]))+"))
FEW = 200  # forms that one pattern still finds quickly
Span = tuple[int, int]


def can_be_masked(value: str) -> bool:
    """A text of many short lines is seen line by line, and each would be too short."""
    return any(len(line) >= MIN_LENGTH for line in _lines(value))


class Masker:
    """Replaces every form in which a known secret may appear."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = {form for value in values for form in _forms(value)}
        self._whole = _Finder(forms)
        self._folded = [(space, _Finder(space.sub("", form) for form in forms)) for space in _SPACES]

    def text(self, text: str) -> str:
        if not self._whole:
            return text
        spans = list(self._whole.spans(text))
        plain = _COLOUR.sub("", text)
        found = list(self._whole.spans(plain)) if plain != text else []
        if _END.search(plain):
            for space, finder in self._folded:
                found += _back(finder.spans(space.sub("", plain)), plain, space)
        spans += found if plain == text else _back(found, text, _COLOUR)
        return _masked(text, spans) if spans else text

    def data(self, value: object) -> object:
        if not self._whole:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.data(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.data(inner) for inner in value]
        if isinstance(value, (int, float)) and not isinstance(value, bool) and any(self._whole.spans(str(value))):
            return MASK
        return value


class _Finder:
    """Where any of some texts stands in another one, overlapping ones too, however many they are."""

    def __init__(self, forms: Iterable[str]) -> None:
        longest_first = sorted({form for form in forms if len(form) >= MIN_LENGTH}, key=lambda form: (-len(form), form))
        self._by_head: dict[str, list[str]] = {}
        for form in longest_first:
            self._by_head.setdefault(form[:MIN_LENGTH], []).append(form)
        few = longest_first and len(longest_first) <= FEW
        self._any = re.compile("|".join(map(re.escape, longest_first))) if few else None

    def __bool__(self) -> bool:
        return bool(self._by_head)

    def spans(self, text: str) -> Iterator[Span]:
        if self._any and not self._any.search(text):
            return
        for start in range(len(text) - MIN_LENGTH + 1):
            for form in self._by_head.get(text[start : start + MIN_LENGTH], ()):
                if text.startswith(form, start):
                    yield start, start + len(form)
                    break


def _back(spans: Iterable[Span], text: str, breaks: re.Pattern[str]) -> list[Span]:
    """Spans of a text that lost its breaks: where that is in the text itself."""
    spans = list(spans)
    if not spans:
        return []
    starts, places = [0], [0]  # of each piece between two breaks: without them, and with them
    for found in breaks.finditer(text):
        starts.append(starts[-1] + found.start() - places[-1])
        places.append(found.end())

    def of(position: int) -> int:
        piece = bisect.bisect_right(starts, position) - 1
        return places[piece] + position - starts[piece]

    return [(of(start), of(end - 1) + 1) for start, end in spans]


def _masked(text: str, spans: list[Span]) -> str:
    parts, at = [], 0
    for start, end in _merged(spans):
        parts += [text[at:start], MASK]
        at = end
    return "".join([*parts, text[at:]])


def _merged(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _lines(value: str) -> list[str]:
    return [line.strip() for line in value.splitlines()]


def _forms(value: str) -> set[str]:
    """Of the whole value, and of each of its lines: whoever prints it may print line by line."""
    forms: set[str] = set()
    for part in {value, value.strip(), *_lines(value)}:
        if len(part) >= MIN_LENGTH:
            forms |= {part, *_escaped(part), *_in_markup(part), *_in_addresses(part)}
            for text in {part, *_json(part)}:
                forms |= {*_encoded(text.encode())}
    return forms


def _json(part: str) -> tuple[str, str]:
    """In ASCII alone, and with letters as they are."""
    return json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1]


def _python(part: str) -> tuple[str, str, str]:
    """Alone, within a text that has both quotes, and as bytes."""
    return repr(part)[1:-1], repr(f"{part}'\"")[1:-4], repr(part.encode())[2:-1]


def _escaped(part: str) -> Iterator[str]:
    """As JSON, Python, YAML, SQL, CSV and shells write it."""
    ascii, letters = _json(part)
    for once in {part, ascii, letters, *_python(part)}:  # what was written once is written again in a longer text
        yield from (once, *_json(once), *_python(once))
    yield re.sub(r"\\u[0-9a-f]{4}", lambda found: rf"\u{found[0][2:].upper()}", ascii)
    yield from (ascii.replace("/", "\\/"), letters.replace("/", "\\/"))
    for unsafe in ("[<>&]", "[<>&']"):  # as it may stand in a page
        for text in (ascii, letters):
            yield re.sub(unsafe, lambda found: f"\\u{ord(found[0]):04x}", text)
    if not part.isascii():
        yield yaml.safe_dump(part, default_style='"', width=float("inf"))[1:-2]
    yield from (part.replace("'", "''"), part.replace('"', '""'))
    yield from (part.replace("'", "'\"'\"'"), part.replace("'", "'\\''"))
    yield re.sub(r'(["\\$`])', r"\\\1", part)
    yield re.sub(r"([^A-Za-z0-9_,.+:@%/\n-])", r"\\\1", part)


def _in_markup(part: str) -> Iterator[str]:
    escaped = html.escape(part)
    yield from (escaped, html.escape(part, quote=False))
    for apostrophe, quote in (("&#39;", "&#34;"), ("&#39;", "&quot;"), ("&apos;", "&quot;")):
        yield escaped.replace("&#x27;", apostrophe).replace("&quot;", quote)


def _in_addresses(part: str) -> Iterator[str]:
    quote = urllib.parse.quote
    for safe in ("/", "", "!~*'()", ";,/?:@&=+$-_.!~*'()#"):
        for form in (quote(part, safe=safe), quote(part, safe=f" {safe}").replace(" ", "+")):
            yield form
            yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), form)


def _encoded(data: bytes) -> Iterator[str]:
    """In hex, and in Base64: alone, and somewhere within more text, its middle at each of three offsets."""
    yield from (data.hex(), data.hex().upper())
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(data).decode()
        yield from (whole, whole.rstrip("="), urllib.parse.quote(whole, safe=""))
        for offset in range(3):
            text = encode(bytes(offset) + data).decode()
            yield text[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6]
