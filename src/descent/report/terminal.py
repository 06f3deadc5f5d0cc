"""What the terminal shows when a run has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descent.metrics import LOGGED

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SHOWN = ("loss", "full_loss", "accuracy", "rmse", "mae", "r2")


def print_result(
    result: Mapping[str, Any],
    files: Mapping[str, Path],
    baseline: Mapping[str, float] | None = None,
    weighted: bool = False,
) -> None:
    """Print the result table and where everything lies.

    Args:
        result: as in result.json.
        files: what to point at, by label.
        baseline: metrics of the best guess that looks at no feature.
        weighted: whether classes are weighed already.
    """
    from rich.console import Console

    # names of columns are texts of the user's, in which [/b] is no markup
    console = Console(highlight=False, soft_wrap=True, markup=False)
    splits = [s for s in ("train", "val", "test") if _of(result["metrics"], s)]
    held = [s for s in splits if s != "train"]
    guesses = _of(baseline or {}, held[-1]) if held else {}
    console.print(_table_of_metrics(result, splits, guesses))
    _print_doubt(console, _of(result["metrics"], held[-1]) if held else {}, guesses)
    best = result["best"]
    if best:
        shown = ", ".join(f"{k} {_number(v)}" for k, v in best["metrics"].items() if "val/" in k)
        tested = "; its weights were tested" if "test" in splits else ""
        console.print(f"best epoch {best['epoch']} (step {best['step']}): {shown}{tested}")
    if result.get("threshold") is not None:
        console.print(f"threshold  {_number(result['threshold'])}, for the second class")
    if result.get("predicts_only") is not None:
        advice = "" if weighted else "; data.class_weight=balanced may help"
        console.print(f"note: every test row is predicted to be {result['predicts_only']}{advice}")
    if result.get("weights_from"):
        console.print(f"weights    those of {result['weights_from']}: measured, saved and tested")
    steps, seconds = result["step"], result["seconds"]
    rate = f", {seconds / steps * 1e6:,.0f} us a step" if steps else ""
    console.print(f"{steps:,} steps in {seconds:.2f} s{rate}")
    for name, value in result["metrics"].items():
        if name.startswith(("diagnostics/", LOGGED)):
            console.print(f"{name.partition('/')[2].replace('_', ' '):<18} {_number(value)}")
    for name, value in (result.get("weights") or {}).items():
        console.print(f"{name:<18} {value!r}")
    for label, path in files.items():
        console.print(f"{label:<10} {path}", soft_wrap=True)


def _table_of_metrics(
    result: Mapping[str, Any], splits: Sequence[str], guesses: Mapping[str, float]
) -> Table:
    """Return a row per metric and a column per split, beside the last one's best guess."""
    from rich.table import Table

    table = Table(title=f"{result['status']}: {result['reason']}", title_justify="left")
    table.add_column("")
    for split in splits:
        table.add_column(split, justify="right")
    held = [s for s in splits if s != "train"]
    if guesses:  # what accuracy or rmse must be compared with
        what = "majority" if "accuracy" in guesses else "mean"
        table.add_column(f"{held[-1]}, always the {what}", justify="right")
    measured = [n for split in held for n in _of(result["metrics"], split)]
    names = [n for n in SHOWN if any(n in _of(result["metrics"], s) for s in splits)]
    names += [n for n in dict.fromkeys(measured) if n not in SHOWN]
    for name in names:
        cells = [_number(_of(result["metrics"], s).get(name)) for s in splits]
        cells += [_number(guesses.get(name))] if guesses else []
        table.add_row(name.replace("_", " "), *cells)
    return table


def _print_doubt(
    console: Console, measured: Mapping[str, Any], guesses: Mapping[str, float]
) -> None:
    """Say that a model learnt nothing, where that is so."""
    for name, better in (("accuracy", 1), ("rmse", -1)):
        value, guess = measured.get(name), guesses.get(name)
        if not isinstance(value, float) or guess is None or better * (value - guess) > 0:
            continue
        what = "the commonest class" if name == "accuracy" else "the mean"
        console.print(f"note: {name} is no better than that of always predicting {what}")


def _of(metrics: Mapping[str, Any], split: str) -> dict[str, Any]:
    return {k.partition("/")[2]: v for k, v in metrics.items() if k.startswith(f"{split}/")}


def _number(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.4g}"
