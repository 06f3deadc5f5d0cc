"""What the terminal shows of a multirun: its runs, its settings, and what went wrong."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descent.config.options import is_problem, is_seed
from descent.config.spelling import SCRIPTS, command
from descent.errors import counted
from descent.metrics import lower_is_better
from descent.records.endings import Status
from descent.records.multirun import RESULTS

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]

# Columns of results.csv that the terminal shows, where any run has them, with their headings.
SHOWN = {
    "status": "status",
    "step": "steps",
    "samples": "samples",
    "seconds": "seconds",
    "train/full_loss": "full loss",
    "val/loss": "val loss",
    "best/val/loss": "best val loss",
    "val/accuracy": "val accuracy",
    "val/r2": "val R²",
}
WIDE = 160  # characters, where no terminal sets a limit
MOST_WEIGHTS = 3  # parameters that still fit beside the rest
MOST_ROWS = 30  # runs that a reader looks at one by one
MOST_SETTINGS = 10
MOST_FAILURES = 20


@dataclass(frozen=True)
class SettingScores:
    """Runs that differ in their seed only.

    Args:
        values: what was swept, without seeds.
        runs: how many.
        scores: the metric of those that ended well.
    """

    values: dict[str, str]
    runs: int
    scores: list[float]

    @property
    def problem(self) -> tuple[str, ...]:
        """What of it says which loss is descended; empty where all runs descend the same."""
        return tuple(value for key, value in self.values.items() if is_problem(key))

    @property
    def mean(self) -> float:
        """The mean over seeds; infinitely bad if a run was lost."""
        return statistics.fmean(self.scores) if len(self.scores) == self.runs else math.nan

    @property
    def told(self) -> str:
        """The mean with its spread over seeds."""
        if not self.scores:
            return ""
        mean = statistics.fmean(self.scores)
        if len(self.scores) < 2:
            return f"{mean:.4g}"
        return f"{mean:.4g} ± {statistics.stdev(self.scores):.2g}"


def settings(rows: Sequence[Row], metric: str) -> list[SettingScores]:
    """Return the settings, best first; those that lost a run, or have no score, come last.

    Of several problems (data sets, landscapes), whose scores cannot be compared, they take turns.

    Args:
        rows: of `compare`.
        metric: what was optimized, such as `val/loss`: its best epoch's value, else the last.
    """
    made = [
        SettingScores(
            dict(values), len(own), [s for row in own if (s := score(row, metric)) is not None]
        )
        for values, own in by_setting(rows).items()
    ]
    sign = 1 if lower_is_better(metric) else -1
    made.sort(key=lambda s: (math.isnan(s.mean), not s.scores, sign * _or_zero(s.mean)))
    problems: dict[tuple[str, ...], list[SettingScores]] = {}
    for setting in made:
        problems.setdefault(setting.problem, []).append(setting)
    return [s for row in zip_longest(*problems.values()) for s in row if s is not None]


def by_setting(rows: Sequence[Row]) -> dict[tuple[tuple[str, str], ...], list[Row]]:
    """Return the rows that differ by their seed alone, by what was swept beside it."""
    keys = [key for key in swept(rows) if not is_seed(key)]
    groups: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple((key, str(row[key])) for key in keys), []).append(row)
    return groups


def score(row: Row, metric: str) -> float | None:
    """Return a run's score; None if it did not end well, or has none."""
    value = row.get(f"best/{metric}")
    value = row.get(metric) if value is None else value
    good = row["status"] == Status.OK and isinstance(value, (int, float))
    return float(value) if good and value is not None and math.isfinite(value) else None


def swept(rows: Sequence[Row]) -> list[str]:
    """Return the options that differ between the runs."""
    names = list(rows[0]) if rows else []
    return names[: names.index("status")] if names else []


def print_summary(sweep: Path, rows: Sequence[Row], metric: str) -> None:
    """Print tables, and why runs did not end well; what they say is told by the report.

    Args:
        sweep: the multirun's directory.
        rows: of `compare`.
        metric: what was optimized.
    """
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = WIDE
    counts = Counter(str(row["status"]) for row in rows)
    told = ", ".join(f"{count:,} {status}" for status, count in counts.most_common())
    if len(rows) <= MOST_ROWS:
        _print_runs(console, rows, metric)
    else:
        _print_settings(console, settings(rows, metric), metric)
    console.print(f"{len(rows):,} runs: {told}")
    if any(key.rsplit(".", 1)[-1] == "fold" for key in swept(rows)):
        _print_folds(console, settings(rows, metric), metric)
    _print_failures(console, rows)
    _print_one_class(console, rows)
    console.print(f"{'runs':<10} {sweep}")
    console.print(f"{'table':<10} {sweep / RESULTS}")
    if len(rows) <= MOST_ROWS and "report" in SCRIPTS:
        console.print(f"{'pictures':<10} {command('report')} run={sweep}")


def _print_runs(console: Console, rows: Sequence[Row], metric: str) -> None:
    from rich.table import Table

    shown = _columns(rows, metric)
    columns = _fitting(shown, rows, console.width)
    table = Table()
    for name, heading in columns.items():
        numbers = all(isinstance(row[name], (int, float, type(None))) for row in rows)
        table.add_column(heading, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in columns))
    console.print(table)
    left_out = len(shown) - len(columns)
    if left_out:
        console.print(f"{left_out} more columns are in {RESULTS}.")


def _print_settings(console: Console, found: Sequence[SettingScores], metric: str) -> None:
    from rich.table import Table

    table = Table()
    for key in found[0].values:
        table.add_column(key)
    for heading in ("runs", "not ok", metric):
        table.add_column(heading, justify="right")
    for setting in found[:MOST_SETTINGS]:
        lost = setting.runs - len(setting.scores)
        table.add_row(*setting.values.values(), str(setting.runs), str(lost or ""), setting.told)
    console.print(table)
    if len(found) > MOST_SETTINGS:
        console.print(f"the best {MOST_SETTINGS} of {len(found):,} settings")


def _print_folds(console: Console, found: Sequence[SettingScores], metric: str) -> None:
    """Print the mean over folds of each setting, best first."""
    for setting in found[:MOST_SETTINGS]:
        values = " ".join(f"{key}={value}" for key, value in setting.values.items() if value)
        count = len(setting.scores)
        if count:
            shown = f"{metric} {setting.told} over {counted(count, 'fold')}"
            console.print(f"{values}: {shown}" if values else shown)


def _print_failures(console: Console, rows: Sequence[Row]) -> None:
    bad = [row for row in rows if row["status"] != Status.OK]
    few = len(rows) <= MOST_ROWS
    told = [row for row in bad if few or row["status"] != Status.DIVERGED]
    for row in told[:MOST_FAILURES]:
        reason = f", {row['reason']}" if row["reason"] else ""
        console.print(f"{Path(row['directory']).name}: {row['status']}{reason}")
    if len(told) > MOST_FAILURES:
        console.print(f"and {len(told) - MOST_FAILURES:,} more, in {RESULTS}")


def _print_one_class(console: Console, rows: Sequence[Row]) -> None:
    """Say which runs predict one class for every test row, however good their scores look."""
    lone = Counter(row["predicts_only"] for row in rows if row.get("predicts_only") is not None)
    for name, count in lone.most_common():
        console.print(
            f"note: {count:,} of {counted(len(rows), 'run')} predict every test row to be {name}",
            markup=False,
        )


def _columns(rows: Sequence[Row], metric: str) -> dict[str, str]:
    """Return heading by column: what was swept and optimized, what always counts, what few have."""
    names = list(rows[0]) if rows else []
    weights = [n for n in names[names.index("seconds") + 1 : -1] if "/" not in n] if names else []
    weights = [n for n in weights if n not in ("seconds_to_target", "predicts_only")]
    diagnostics = [n for n in names if n.startswith("diagnostics/")]
    columns = {name: name for name in swept(rows)}
    label = metric.replace("/", " ").replace("_", " ")
    optimized = {} if metric in SHOWN else {metric: label, f"best/{metric}": f"best {label}"}
    always = {"status": SHOWN["status"], **optimized, **SHOWN}
    columns |= {n: heading for n, heading in always.items() if any(_known(r.get(n)) for r in rows)}
    columns |= {n: n.partition("/")[2].replace("_", " ") for n in diagnostics}
    if len(weights) <= MOST_WEIGHTS:
        columns |= {name: name for name in weights}
    return columns


def _fitting(columns: Mapping[str, str], rows: Sequence[Row], width: int) -> dict[str, str]:
    """Return the columns up to the first that the terminal has no room for, three at least."""
    kept: dict[str, str] = {}
    used = 1  # the frame
    for name, heading in columns.items():
        used += 3 + max(len(heading), *(len(_cell(row[name])) for row in rows))
        if used > width and len(kept) >= 3:
            break
        kept[name] = heading
    return kept


def _known(value: Any) -> bool:
    return value is not None


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
