"""One line of a terminal as (classes, text) pairs: its escape sequences become classes of a style sheet or nothing.

Pure. Every text stays text; no control character passes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# What one line may put on a page; the download has all of it.
MAX_SHOWN = 4000
# A sequence longer than this is not one: it is shown as text.
_ESCAPE = re.compile(
    r"""
      \x1b\[ (?P<sgr>[0-9;:]{0,100}) m
    | (?: \x1b\[ | \x9b ) [0-?]{0,100} [ -/]{0,10} [@-~]        # any other control sequence, an 8-bit SGR too
    | (?: \x1b[\]PX^_] | [\x9d\x90\x98\x9e\x9f] ) [^\x07\x1b\x9c]* (?: \x07 | \x1b\\ | \x9c )?   # OSC, DCS, ...
    | \x1b [ -/]{0,10} [0-~]
    | [\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]
    """,
    re.VERBOSE,
)
# Characters that reorder or hide text are shown by their number.
_HIDDEN = re.compile("[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_STYLES = {1: "bold", 2: "faint", 3: "italic", 4: "underline", 9: "struck"}
_ENDS = {22: ("bold", "faint"), 23: ("italic",), 24: ("underline",), 29: ("struck",)}
_LEVELS = (0, 95, 135, 175, 215, 255)
# The sixteen colours as terminals show them, for the nearest one of a 256-colour or true-colour value.
_SIXTEEN = (
    (0, 0, 0), (170, 0, 0), (0, 170, 0), (170, 85, 0), (0, 0, 170), (170, 0, 170), (0, 170, 170), (170, 170, 170),
    (85, 85, 85), (255, 85, 85), (85, 255, 85), (255, 255, 85), (85, 85, 255), (255, 85, 255), (85, 255, 255),
    (255, 255, 255),
)  # fmt: skip

Part = tuple[str, str]


@dataclass(slots=True)
class _Style:
    """The SGR state while a line is read."""

    on: set[str] = field(default_factory=set)
    foreground: str = ""
    background: str = ""

    def classes(self) -> str:
        names = [f"a-{name}" for name in sorted(self.on)]
        return " ".join([*names, *filter(None, (self.foreground, self.background))])

    def apply(self, codes: Iterator[int]) -> None:
        for code in codes:
            if code == 0:
                self.on, self.foreground, self.background = set(), "", ""
            elif code in _STYLES:
                self.on.add(_STYLES[code])
            elif code in _ENDS:
                self.on.difference_update(_ENDS[code])
            else:
                self._colour(code, codes)

    def _colour(self, code: int, codes: Iterator[int]) -> None:
        if 30 <= code <= 37:
            self.foreground = f"f-{code - 30}"
        elif 90 <= code <= 97:
            self.foreground = f"f-{code - 82}"
        elif 40 <= code <= 47:
            self.background = f"b-{code - 40}"
        elif 100 <= code <= 107:
            self.background = f"b-{code - 92}"
        elif code == 39:
            self.foreground = ""
        elif code == 49:
            self.background = ""
        elif code in (38, 48):
            colour = _extended(codes)
            if colour is not None and code == 38:
                self.foreground = f"f-{colour}"
            elif colour is not None:
                self.background = f"b-{colour}"


def _extended(codes: Iterator[int]) -> int | None:
    """The nearest of the sixteen colours to `5;n` or `2;r;g;b`."""
    mode = next(codes, 0)
    if mode == 5:
        number = next(codes, -1)
        if 0 <= number < 16:
            return number
        if 16 <= number < 232:
            cube = number - 16
            return _nearest((_LEVELS[cube // 36], _LEVELS[cube // 6 % 6], _LEVELS[cube % 6]))
        if 232 <= number < 256:
            return _nearest((8 + 10 * (number - 232),) * 3)
    elif mode == 2:
        red, green, blue = (next(codes, 0) for _ in range(3))
        return _nearest((red, green, blue))
    return None


def _nearest(colour: tuple[int, int, int]) -> int:
    def distance(number: int) -> int:
        return sum((a - b) ** 2 for a, b in zip(colour, _SIXTEEN[number], strict=True))

    return min(range(16), key=distance)


def plain(text: str) -> str:
    """The text without escape sequences and control characters, for files and searching."""
    return _ESCAPE.sub("", text)


def parts(text: str) -> tuple[list[Part], int]:
    """(The line as (classes, text) pairs, how many characters were left out). Escape sequences never pass."""
    text = text.rstrip("\r\n")
    text = text.rsplit("\r", 1)[-1] if "\r" in text and "\n" not in text else text.replace("\r", "")
    found: list[Part] = []
    style, room, at = _Style(), MAX_SHOWN, 0
    for match in _ESCAPE.finditer(text):
        room -= _add(found, style.classes(), text[at : match.start()][:room])
        at = match.end()
        sgr = match.group("sgr")
        if sgr is not None:
            style.apply(int(code[:4] or 0) for code in re.split("[;:]", sgr))
        if room <= 0:
            break
    room -= _add(found, style.classes(), text[at:][:room])
    cut = len(plain(text)) - MAX_SHOWN if room <= 0 else 0
    return found, max(cut, 0)


def _add(found: list[Part], classes: str, text: str) -> int:
    if text:
        shown = _HIDDEN.sub(lambda match: f"<U+{ord(match[0]):04X}>", text)
        if found and found[-1][0] == classes:
            shown = found.pop()[1] + shown
        found.append((classes, shown))
    return len(text)
