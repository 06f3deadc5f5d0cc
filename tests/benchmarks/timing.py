"""Interleaved timing: contenders take turns, so that a machine's moods hit all of them alike.

And the claims that are held against targets, which `run.py` prints once more at the end.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Timing:
    """Seconds of each round, and their ratios to the reference's seconds in the same round."""

    seconds: list[float]
    ratios: list[float]

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)

    @property
    def ratio(self) -> float:
        """Median of the paired ratios."""
        return statistics.median(self.ratios)

    @property
    def spread(self) -> str:
        """Least and greatest paired ratio."""
        return f"{min(self.ratios):.2f} to {max(self.ratios):.2f}"


def interleave(
    contenders: Mapping[str, Callable[[], Callable[[], object]]], reference: str, rounds: int
) -> dict[str, Timing]:
    """Time contenders in turn.

    Args:
        contenders: each makes, untimed, the call that is timed.
        reference: the contender that ratios are taken to.
        rounds: counted rounds; one more comes first and is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for i in range(rounds + 1):
        for name, prepare in contenders.items():
            call = prepare()
            began = time.perf_counter()
            call()
            if i:
                seconds[name].append(time.perf_counter() - began)
    return {
        name: Timing(taken, [a / b for a, b in zip(taken, seconds[reference], strict=True)])
        for name, taken in seconds.items()
    }


def print_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """Print a Markdown table."""
    print(f"\n### {title}\n\n| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


CLAIMS: list[list[str]] = []  # what was measured, its figure, its target, whether it is met


def claim(what: str, figure: float, target: float, unit: str, at_least: bool = False) -> bool:
    """Hold a figure against its target; return whether it is met."""
    met = figure >= target if at_least else figure <= target
    sign = ">=" if at_least else "<="
    digits = 0 if abs(figure) >= 100 else 2
    shown = f"{figure:,.{digits}f} {unit}".strip()
    CLAIMS.append([what, shown, f"{sign} {target:g} {unit}".strip(), "met" if met else "missed"])
    return met


TREE = "DESCENT_TREE"  # the variable that names another checkout, whose commands are to be timed


def script() -> list[str]:
    """Return how `train.py` is called: of this checkout, or of the other one that is asked for."""
    tree = Path(os.environ.get(TREE, Path(__file__).parents[2]))
    own = tree / ".venv" / "bin" / "python"
    return [str(own) if own.exists() else sys.executable, str(tree / "src" / "train.py")]


def scratch() -> Path:
    """Return a new directory in memory where there is that: a disk that others use has moods."""
    return Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
