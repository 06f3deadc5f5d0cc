"""`descent.runs`: the runs of a directory as a frame, to be filtered, and the best of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descent.api.contained import contained
from descent.api.trained import TrainedRun
from descent.errors import DescentError, UserError, counted, did_you_mean
from descent.records.tables import FULL_LOSS

if TYPE_CHECKING:
    import polars as pl

    from descent.report.style import Picture

FIGURES = ("status", "reason", "step", "epoch", "samples", "seconds")
Row = Mapping[str, Any]


class Runs:
    """Runs, a row each: options (typed), then status and figures, then the directory.

    Args:
        directory: that was read.
        rows: what is known of each run.
        options: the names of the columns that are options.
        of_sweep: whether they are all the runs of one multirun.
    """

    def __init__(
        self, directory: Path, rows: Sequence[Row], options: Sequence[str], of_sweep: bool
    ) -> None:
        self.directory, self._rows, self._options = directory, tuple(rows), tuple(options)
        self._of_sweep = of_sweep

    @property
    def frame(self) -> pl.DataFrame:
        """A frame of Polars: the options that differ between the runs, then their figures."""
        import polars as pl

        names = dict.fromkeys(name for row in self._rows for name in row)
        shown = [*self.swept, *(n for n in names if n not in self._options and n != "directory")]
        return pl.DataFrame(
            [{name: row.get(name) for name in [*shown, "directory"]} for row in self._rows],
            infer_schema_length=None, strict=False,
        )  # fmt: skip

    @property
    def told(self) -> pl.DataFrame:
        """The columns of `frame` that are looked at first."""
        frame = self.frame
        metrics = dict.fromkeys(str(row.get("optimized_metric")) for row in self._rows)
        first = ["status", "step", "seconds", *(f"best/{name}" for name in metrics), FULL_LOSS]
        first += [n for n in frame.columns if n.startswith(("val/", "test/"))]
        names = dict.fromkeys(n for n in [*self.swept, *first] if n in frame.columns)
        return frame.select([n for n in names if frame[n].null_count() < frame.height])

    @property
    def swept(self) -> list[str]:
        """The options that differ between the runs."""
        return [n for n in self._options if len({repr(row.get(n)) for row in self._rows}) > 1]

    @property
    def counted(self) -> str:
        """How many runs there are, by what became of them."""
        counts = Counter(str(row["status"]) for row in self._rows)
        told = ", ".join(f"{count:,} {status}" for status, count in counts.most_common())
        return f"{counted(len(self._rows), 'run')}{f': {told}' if told else ''}"

    def where(self, condition: Any = None, **values: Any) -> Runs:
        """Return those runs that fulfil all conditions.

        Args:
            condition: values by name, for names with dots: `{"optimizer.lr": 0.1}`; or a function
                from a run's row to a truth: `lambda row: row["optimizer.lr"] < 0.1`.
            **values: by name: `status="ok"`. A list or a set stands for any of its values, a
                function for what it says of the run's own value.

        Raises:
            DescentError: no run has such an option or figure.
        """
        wanted = {**(condition if isinstance(condition, Mapping) else {}), **values}
        known = dict.fromkeys(name for row in self._rows for name in row)
        for name in wanted:
            if self._rows and name not in known:
                hint = did_you_mean(name, known) or "."
                raise DescentError(f"No run of {self.directory} has '{name}'{hint}")
        kept = [row for row in self._rows if all(_fits(row.get(n), v) for n, v in wanted.items())]
        if callable(condition):
            kept = [row for row in kept if condition(row)]
        return Runs(self.directory, kept, self._options, False)

    def best(self, metric: str | None = None) -> TrainedRun:
        """Return the best run; of a whole multirun, the best run of its best setting.

        Args:
            metric: what to compare by, such as `val/accuracy`, at each run's best epoch; None for
                the metric that the runs optimized.

        Raises:
            DescentError: no run has that metric, or their scores cannot be compared.
        """
        from descent.analysis.summary import score
        from descent.config.options import is_problem
        from descent.metrics import lower_is_better, mode_of
        from descent.records.run import Run

        if self._of_sweep and metric is None:
            from descent.analysis.best import best_run

            with contained(quiet=True):
                found = best_run(self.directory)
            return TrainedRun(found.directory, found.sentence)
        problems = [name for name in self.swept if is_problem(name)]
        if problems:
            raise DescentError(
                f"The runs differ in {problems[0]}, so that their scores cannot be compared; "
                f"choose some by where({{'{problems[0]}': ...}})."
            )
        if metric is None:
            named = {
                str(row["optimized_metric"]) for row in self._rows if "optimized_metric" in row
            }
            if len(named) != 1:
                told = " and ".join(sorted(named)) or "nothing"
                raise DescentError(f"The runs optimized {told}; say what counts: best('val/loss').")
            (metric,) = named
            if mode_of(metric) is None:  # it says which way is better
                Run(Path(self._rows[0]["directory"])).config()
        scores = [(s, row) for row in self._rows if (s := score(row, metric)) is not None]
        if not scores:
            raise DescentError(f"No run of {self.directory} has ended well with a '{metric}'.")
        sign = 1 if lower_is_better(metric) else -1
        value, row = min(scores, key=lambda pair: sign * pair[0])
        told = f"The best of {counted(len(scores), 'run')} by {metric}: {value:.4g}."
        return TrainedRun(Path(row["directory"]), told)

    def plot(self, x: str = "step") -> Picture:
        """Return the picture of the losses of those runs that have ended."""
        from descent.api.drawn import curves
        from descent.report.record import read_record

        with contained(quiet=True):
            ended = [row for row in self._rows if row["status"] in ("ok", "diverged")]
            if not ended:
                raise DescentError(
                    f"No run of {self.directory} has ended, so there is none to draw."
                )
            records = [read_record(Path(row["directory"])) for row in ended]
        return curves(records, x)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[TrainedRun]:
        return (self[at] for at in range(len(self._rows)))

    def __getitem__(self, at: int) -> TrainedRun:
        return TrainedRun(Path(self._rows[at]["directory"]))

    def __repr__(self) -> str:
        return f"{self.counted} in {self.directory}\n{self.told}"

    def _repr_html_(self) -> str:
        from descent.api.shown import frame_html

        return frame_html(self.counted, self.told, [str(self.directory)])


def runs(directory: str | os.PathLike[str] = "outputs") -> Runs:
    """Return all runs below a directory, those of multiruns among them.

    Args:
        directory: of a run, of a multirun, or any that holds some.

    Raises:
        DescentError: there is no such directory, or no run in it.
    """
    from descent.records.multirun import is_sweep, read_jobs, runs_below

    path = Path(directory)
    if not path.is_dir():
        raise DescentError(f"There is no directory {path}; give one that holds runs.")
    with contained(quiet=True):
        found = list(runs_below(path))
        rows = [row for one in found if (row := _row(one)) is not None]
        sweep = is_sweep(path)
        if sweep:  # jobs that were refused, or whose worker died, left no run
            there = {Path(row["directory"]).resolve() for row in rows}
            rows += [
                {
                    "status": job["status"] or "not begun", "reason": job["reason"],
                    "directory": str(path / job["directory"]),
                }
                for job in read_jobs(path)
                if (path / job["directory"]).resolve() not in there
            ]  # fmt: skip
    if not rows:
        raise DescentError(f"{path} holds no runs.")
    figures = {*FIGURES, "optimized_metric", "directory"}
    names = dict.fromkeys(name for row in rows for name in row)
    options = [name for name in names if name not in figures and "/" not in name]
    return Runs(path, rows, options, sweep)


def _row(directory: Path) -> Row | None:
    """Return what is known of a run; None where that is nothing."""
    from descent.records.result import hyperparameters
    from descent.records.run import Run

    run = Run(directory)
    try:
        options, result = hyperparameters(run.config()), run.result()
    except UserError:
        return None
    # choices as they were typed: momentum, where the class is SGD
    typed = dict(word.split("=", 1) for word in result.get("overrides") or [] if "=" in word)
    options |= {key: value for key, value in typed.items() if key.isidentifier() and key != "seed"}
    best = (result.get("best") or {}).get("metrics") or {}
    return {
        **options,
        **{name: result.get(name) for name in FIGURES},
        **{name: float(v) for name, v in (result.get("metrics") or {}).items() if v is not None},
        **{f"best/{name}": float(value) for name, value in best.items() if value is not None},
        "optimized_metric": result.get("optimized_metric"),
        "directory": str(directory),
    }


def _fits(value: Any, wanted: Any) -> bool:
    if callable(wanted):
        fits: Callable[[Any], Any] = wanted
        return bool(value is not None and fits(value))
    if isinstance(wanted, Collection) and not isinstance(wanted, str):
        return value in wanted
    return bool(value == wanted)
