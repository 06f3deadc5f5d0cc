"""One line that redraws itself while something goes on: on a terminal, or in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_silent: ContextVar[bool] = ContextVar("silent", default=False)


@contextmanager
def silent() -> Iterator[None]:
    """Let lines that are made within the block draw nothing."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


class LiveLine:
    """A line where somebody watches; nothing elsewhere.

    A terminal's is drawn over itself and cleared at the end. A notebook's is one output cell that
    is renewed, and keeps the last line, as there is no other sign of what went on.
    """

    def __init__(self) -> None:
        self._display: Any = None
        self._kernel = not _silent.get() and _in_notebook()
        self.watched = not _silent.get() and (self._kernel or sys.stderr.isatty())

    def draw(self, line: str) -> None:
        """Draw it in the place of what was drawn before."""
        if self._kernel:
            self._show(line)
        elif self.watched:
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Leave the terminal's line empty, so that what is printed next has it for its own."""
        if self.watched and not self._kernel:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def _show(self, line: str) -> None:
        from IPython.display import display

        data = {"text/plain": line}
        if self._display is None:
            self._display = display(data, raw=True, display_id=True)
        else:
            self._display.update(data, raw=True)


def _in_notebook() -> bool:
    """Whether a kernel runs this Python, whose outputs can be renewed."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return getattr(shell, "kernel", None) is not None
