"""The runs of a multirun side by side: results.csv, and one table on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from descent.endings import Status
from descent.errors import UserError
from descent.runs import Run

RESULTS = "results.csv"
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


def job_directories(sweep: Path) -> list[Path]:
    """Return the directories of a multirun's jobs, by number."""
    jobs = [path for path in sweep.iterdir() if path.is_dir() and path.name.isdigit()]
    return sorted(jobs, key=lambda path: int(path.name))


def compare(sweep: Path) -> list[dict[str, Any]]:
    """Return one row a job that left a result: its overrides, its result, its directory.

    Columns are the overrides that differ between jobs, then `status`, `reason`, `step`, `samples`,
    `seconds`, final metrics, the best epoch's as `best/...`, weights of small models, and at last
    `directory`.
    """
    found: list[tuple[Path, dict[str, Any]]] = []
    for path in job_directories(sweep):
        try:
            found.append((path, Run(path).result()))
        except UserError:  # a job that was never begun, or was refused
            continue
    typed = [dict(o.split("=", 1) for o in r.get("overrides", []) if "=" in o) for _, r in found]
    keys = dict.fromkeys(key for overrides in typed for key in overrides)
    swept = [key for key in keys if len({overrides.get(key) for overrides in typed}) > 1]
    rows = []
    for (path, result), overrides in zip(found, typed, strict=True):
        row: dict[str, Any] = {key.lstrip("+"): overrides.get(key, "") for key in swept}
        row |= {key: result.get(key) for key in ("status", "reason", "step", "samples", "seconds")}
        row |= result.get("metrics") or {}
        best = result.get("best") or {}
        row |= {f"best/{k}": v for k, v in best.get("metrics", {}).items() if k.startswith("val/")}
        row |= result.get("weights") or {}
        rows.append(row | {"directory": str(path)})
    names = list(dict.fromkeys(name for row in rows for name in row if name != "directory"))
    return [{name: row.get(name) for name in [*names, "directory"]} for row in rows]


def write_comparison(sweep: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write results.csv, beside its name and then moved there."""
    import polars as pl

    path = sweep / RESULTS
    part = path.with_suffix(".part")
    frame = pl.DataFrame([dict(row) for row in rows], infer_schema_length=None, strict=False)
    frame.write_csv(part)
    part.replace(path)
    return path


def print_comparison(sweep: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the table, why runs did not end well, and how to draw them together."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = WIDE
    columns = _fitting(_columns(rows), rows, console.width)
    table = Table(title=f"{len(rows)} runs", title_justify="left")
    for name, heading in columns.items():
        numbers = all(isinstance(row[name], (int, float, type(None))) for row in rows)
        table.add_column(heading, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in columns))
    console.print(table)
    left_out = len(_columns(rows)) - len(columns)
    if left_out:
        console.print(f"{left_out} more columns are in {RESULTS}.")
    for row in rows:
        if row["status"] != Status.OK:
            console.print(f"{Path(row['directory']).name}: {row['status']}, {row['reason']}")
    console.print(f"{'runs':<10} {sweep}")
    console.print(f"{'pictures':<10} python src/report.py run={sweep}")


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return heading by column: what was swept, what always counts, and what few rows measured."""
    names = list(rows[0]) if rows else []
    swept = names[: names.index("status")] if names else []
    weights = [n for n in names[names.index("seconds") + 1 : -1] if "/" not in n] if names else []
    diagnostics = [n for n in names if n.startswith("diagnostics/")]
    columns = {name: name for name in swept}
    columns |= {n: heading for n, heading in SHOWN.items() if any(_known(r.get(n)) for r in rows)}
    columns |= {n: n.partition("/")[2].replace("_", " ") for n in diagnostics}
    if len(weights) <= MOST_WEIGHTS:
        columns |= {name: name for name in weights}
    return columns


def _fitting(
    columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]], width: int
) -> dict[str, str]:
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


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
