"""What the terminal shows when a run has ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

SHOWN = ("loss", "full_loss", "accuracy", "rmse", "mae", "r2")


def print_result(result: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    """Print the result table and where everything lies.

    Args:
        result: as in result.json.
        files: what to point at, by label.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    table = Table(title=f"{result['status']}: {result['reason']}", title_justify="left")
    splits = [s for s in ("train", "val", "test") if _of(result["metrics"], s)]
    table.add_column("")
    for split in splits:
        table.add_column(split, justify="right")
    best = result["best"]
    names = [n for n in SHOWN if any(n in _of(result["metrics"], s) for s in splits)]
    for name in names:
        cells = [_number(_of(result["metrics"], s).get(name)) for s in splits]
        table.add_row(name.replace("_", " "), *cells)
    console.print(table)
    if best:
        shown = ", ".join(f"{k} {_number(v)}" for k, v in best["metrics"].items() if "val/" in k)
        tested = "; its weights were tested" if "test" in splits else ""
        console.print(f"best epoch {best['epoch']} (step {best['step']}): {shown}{tested}")
    steps, seconds = result["step"], result["seconds"]
    rate = f", {seconds / steps * 1e6:,.0f} us a step" if steps else ""
    console.print(f"{steps:,} steps in {seconds:.2f} s{rate}")
    for name, value in result["metrics"].items():
        if name.startswith("diagnostics/"):
            console.print(f"{name.partition('/')[2].replace('_', ' '):<18} {_number(value)}")
    for name, value in (result.get("weights") or {}).items():
        console.print(f"{name:<18} {value!r}")
    for label, path in files.items():
        console.print(f"{label:<10} {path}", soft_wrap=True)


def _of(metrics: Mapping[str, Any], split: str) -> dict[str, Any]:
    return {k.partition("/")[2]: v for k, v in metrics.items() if k.startswith(f"{split}/")}


def _number(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.4g}"
