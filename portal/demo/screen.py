"""What the demo says while it works: one line per step, with its duration."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class Screen:
    def __init__(self, out: TextIO = sys.stdout) -> None:
        self.out = out
        self.live = out.isatty()
        self._width = 0

    def say(self, text: str = "") -> None:
        self.progress("")
        print(text, file=self.out, flush=True)

    def progress(self, text: str) -> None:
        """A line that the next one replaces; only on a terminal."""
        if self.live:
            print("\r" + text.ljust(self._width)[:110] + ("\r" if not text else ""), end="", file=self.out, flush=True)
            self._width = min(len(text), 110)

    @contextmanager
    def step(self, title: str) -> Iterator[list[str]]:
        """Times what happens inside; what is put into the list yielded stands behind the title."""
        begin, more = time.monotonic(), list[str]()
        self.progress(f"  {title} ...")
        yield more
        self.say(f"  {time.monotonic() - begin:6.1f} s  {title}{': ' if more else ''}{', '.join(more)}")
