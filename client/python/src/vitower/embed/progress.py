"""A progress bar on stderr: tqdm where it is installed, else a line of our own; where stderr is no terminal, a line
now and then."""

import sys
import time
from typing import Any

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_UPDATES = 0.1


class Progress:
    """Counts finished items. `total` may be unknown; `done` of them were done before. For one thread."""

    def __init__(self, total: int | None, done: int, quiet: bool) -> None:
        self._total, self._done, self._new = total, done, 0
        self._started = self._shown = time.monotonic()
        self._quiet, self._terminal = quiet, sys.stderr.isatty()
        self._bar: Any = None
        if self._terminal and not quiet:
            try:
                from tqdm import tqdm

                self._bar = tqdm(total=total, initial=done, unit="item", file=sys.stderr, dynamic_ncols=True)
            except ImportError:
                pass

    def advance(self) -> None:
        self._new += 1
        if self._bar is not None:
            self._bar.update()
        elif not self._quiet:
            pause = _SECONDS_BETWEEN_UPDATES if self._terminal else _SECONDS_BETWEEN_LINES
            if time.monotonic() - self._shown >= pause:
                self._show("\r" if self._terminal else "", "" if self._terminal else "\n")

    def say(self, message: str) -> None:
        """A line of its own, not disturbed by the bar."""
        if self._bar is not None:
            self._bar.write(message, file=sys.stderr)
        else:
            print(f"\r\x1b[K{message}" if self._terminal and not self._quiet else message, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._terminal and not self._quiet and self._new:
            self._show("\r", "\n")

    def _show(self, begin: str, end: str) -> None:
        self._shown = time.monotonic()
        rate = self._new / max(self._shown - self._started, 1e-9)
        of = f" of {self._total}" if self._total is not None else ""
        print(f"{begin}{self._done + self._new}{of} items, {rate:.1f}/s", end=end, file=sys.stderr, flush=True)
