"""A finished multirun as an object, read from its directory alone."""

from __future__ import annotations

from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from descent.api.contained import contained
from descent.api.ledger import Runs, runs
from descent.api.trained import TrainedRun

if TYPE_CHECKING:
    from descent.report.style import Picture


class SweepResult:
    """A multirun that was trained, in Python or by a command.

    Args:
        directory: of the multirun.

    Raises:
        DescentError: it is none.
    """

    def __init__(self, directory: Path) -> None:
        from descent.analysis.study import check_multirun

        self.directory = directory
        with contained(quiet=True):
            check_multirun(directory)

    @property
    def runs(self) -> Runs:
        """Its runs, a row each: the options that were swept, then status and figures."""
        return runs(self.directory)

    def best(self, measure: str | None = None) -> TrainedRun:
        """Return the best run of the best setting, as the report names it.

        Args:
            measure: what to compare by, such as `train/full_loss`; None for the metric that the
                sweep optimized.

        Raises:
            DescentError: it has none, or holds several problems.
        """
        from descent.analysis.best import best_run

        with contained(quiet=True):
            found = best_run(self.directory, measure)
        return TrainedRun(found.directory, found.sentence)

    @cached_property
    def answer(self) -> tuple[str, ...]:
        """What the sweep says, a sentence each: which setting is best, and how sure that is."""
        from descent.report.sweep_report import answer_of, open_sweep

        with contained(quiet=True):
            found = answer_of(open_sweep(self.directory))
        return (*found.lead, *found.doubts, *found.edges, *found.end)

    def plot(self, number: int = 0) -> Picture:
        """Return a picture of its report, such as the heat map; `number` counts them from 0."""
        from descent.api.drawn import of_sweep

        return of_sweep(self.directory, number)

    def __repr__(self) -> str:
        return f"SweepResult({str(self.directory)!r}): {self.runs.counted}"

    def _repr_html_(self) -> str:
        from descent.api.shown import block

        return block("<br>".join(map(escape, self.answer)), self.runs._repr_html_(), [])
