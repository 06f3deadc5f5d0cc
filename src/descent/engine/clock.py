"""Training seconds: runs while steps are taken, stands still while anything is evaluated."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """A stopwatch that can be paused."""

    def __init__(self) -> None:
        self._past = 0.0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds run so far."""
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return self._past + running

    @seconds.setter
    def seconds(self, value: float) -> None:
        self._past = value
        if self._since is not None:
            self._since = time.perf_counter()

    def start(self) -> None:
        """Run, if it stands still."""
        if self._since is None:
            self._since = time.perf_counter()

    def stop(self) -> None:
        """Stand still, if it runs."""
        self._past, self._since = self.seconds, None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stand still inside the block."""
        running = self._since is not None
        self.stop()
        try:
            yield
        finally:
            if running:
                self.start()
