"""A finished multirun as an object, read from its directory alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descent.api.contained import contained
from descent.api.ledger import Runs, runs
from descent.api.trained import TrainedRun
from descent.config.spelling import SCRIPTS
from descent.errors import DescentError

if TYPE_CHECKING:
    from descent.report.comparison import ComparisonReporting
    from descent.report.style import Picture


class SweepResult:
    """A multirun that was trained, in Python or by a command.

    Args:
        directory: of the multirun.
        trust: packages beyond Descent's own that its runs' configs may build from.

    Raises:
        DescentError: it is none.
    """

    def __init__(self, directory: Path, trust: Sequence[str] = ()) -> None:
        from descent.analysis.study import check_multirun

        self.directory, self._trust = directory, tuple(trust)
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
        return TrainedRun(found.directory, found.sentence, self._trust)

    @cached_property
    def answer(self) -> tuple[str, ...]:
        """What the sweep says, a sentence each: which setting is best, and how sure that is.

        Nothing in a tree without the report.
        """
        if "report" not in SCRIPTS:
            return ()
        from descent.report.sweep_report import answer_of, open_sweep

        with contained(quiet=True):
            found = answer_of(open_sweep(self.directory, trust=self._trust))
        return (*found.lead, *found.doubts, *found.edges, *found.end)

    def plot(self, number: int = 0) -> Picture:
        """Return a picture of its report, such as the heat map; `number` counts them from 0."""
        from descent.api.drawn import of_sweep

        return of_sweep(self.directory, number)

    def compare(self, *others: SweepResult | str | Path, measure: str | None = None) -> Compared:
        """Return this sweep beside others of the same problem, as `report.py sweep=[...]` does.

        Args:
            others: further sweeps, or their directories.
            measure: what to compare by; None for the metric that all of them optimized.

        Raises:
            DescentError: they are not of one problem, or optimized different metrics.
        """
        from descent.report.comparison import open_comparison

        places = [o.directory if isinstance(o, SweepResult) else Path(o) for o in others]
        if not places:
            raise DescentError("Name another sweep to compare this one with.")
        with contained(quiet=True):
            return Compared(open_comparison([self.directory, *places], measure))

    def __repr__(self) -> str:
        return f"SweepResult({str(self.directory)!r}): {self.runs.counted}"

    def _repr_html_(self) -> str:
        from descent.api.shown import block

        return block("<br>".join(map(escape, self.answer)), self.runs._repr_html_(), [])


class Compared:
    """Several sweeps of one problem, of `SweepResult.compare`."""

    def __init__(self, reporting: ComparisonReporting) -> None:
        self._reporting = reporting

    @cached_property
    def answer(self) -> tuple[str, ...]:
        """Which sweep has the best setting, by how much, and how sure that is, in sentences."""
        from descent.report.comparison import answer_of

        lead, told = answer_of(self._reporting.found)
        return (*lead, *told)

    @property
    def winners(self) -> list[dict[str, Any]]:
        """The best setting of each sweep, best first, and how far it is behind the first."""
        from descent.report.comparison import noted

        return noted(self._reporting)

    def plot(self) -> Picture:
        """Return the loss curves of the best settings of the two best sweeps.

        Raises:
            DescentError: their runs recorded no loss.
        """
        from descent.report.comparison import overlay
        from descent.report.style import look

        with contained(quiet=True), look():
            picture = overlay(self._reporting.found)
        if picture is None:
            raise DescentError("The runs recorded no loss, so there are no curves.")
        return picture

    def report(self) -> Path:
        """Write the page with its pictures and tables; return its directory."""
        from descent.report.comparison import report_comparison

        with contained(quiet=True):
            return report_comparison(self._reporting)

    def __repr__(self) -> str:
        return "\n".join(self.answer)

    def _repr_html_(self) -> str:
        from descent.api.shown import block, table
        from descent.report.comparison import winners_table

        found = winners_table(self._reporting.found)
        return block("<br>".join(map(escape, self.answer)), table(found.heads, found.rows), [])
