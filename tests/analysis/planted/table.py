"""The planted truths at length, by hand: python tests/analysis/planted/table.py [--all]

Prints what was planted, what the report stated, in how many sweeps that was right, and `MISSED`
where that is fewer than promised, by more than two standard errors of so many draws. With --all
1,000 sweeps of each kind whose statistics alone are asked, 200 of whole ones and 20 searches of
each kind (half an hour), else 100, 20 and 5.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist

sys.path.insert(0, str(Path(__file__).parent))
from test_best import EQUAL, SEEDS, SIZES, false_claims, gaps
from test_critical import DESIGNS, verdicts
from test_intervals import APART, EXPONENTS, MEDIANS, effects, exponents, medians, shares
from test_search import DRAWN, KINDS, ROUNDS, drawn, searched

# truth, what the report states of it, the share that is right, the share promised, draws
Row = tuple[str, str, float, float, int]


def rows(many: int, some: int, few: int) -> Iterator[Row]:
    """Measure and yield the rows of the table, one after another."""
    yield from best(many, some)
    yield from intervals(many)
    for name in DESIGNS:
        told, held, _ = verdicts(name, some)
        yield f"B_crit 100: {name}", f"a number in {told} of {some}", held / some, 0.93, some
    for noise in (0.02, 0.1):
        for kind in KINDS:
            with tempfile.TemporaryDirectory() as where:
                good, most, worst = searched(kind, Path(where), few, noise)
            stated = f"done in {most} rounds of {ROUNDS}, {worst:.3f} x least"
            yield f"optimum: {kind}, noise {100 * noise:g}%", stated, good / few, 1.0, few
        for kind in DRAWN:
            with tempfile.TemporaryDirectory() as where:
                good, most, worst = drawn(kind, Path(where), few, noise)
            stated = f"done in {most} rounds of {ROUNDS}, {worst:.3f} x least"
            yield f"drawn at random: {kind}, noise {100 * noise:g}%", stated, good / few, 1.0, few


def best(many: int, some: int) -> Iterator[Row]:
    """Yield who may be the best, and who is."""
    for truth in EQUAL:
        for seeds in SEEDS:
            for size in SIZES:
                planted = f"{size} equal, {seeds} seeds: {truth}"
                wrong = false_claims(truth, size, seeds, many)
                yield planted, "none of them is said to be worse", 1 - wrong, 0.95, many
    for scatter in (0.02, 0.05, 0.1):
        for seeds in (2, 3, 5):
            with tempfile.TemporaryDirectory() as where:
                won, alone = gaps(seeds, scatter, some, Path(where))
            planted = f"one of 6 is 30% ahead, noise {100 * scatter:g}%, {seeds} seeds"
            # no choice by means does better: that of two normal means which is the lesser
            sure = NormalDist().cdf(math.log(1.3) / (scatter * math.sqrt(2 / seeds)))
            yield planted, f"it is the best, alone in {alone}", won / some, sure, some


def intervals(many: int) -> Iterator[Row]:
    """Yield how many of the stated intervals hold what was planted."""
    for truth in MEDIANS:
        for seeds in (5, 6, 10):
            planted = f"median of {seeds} seeds: {truth}"
            yield planted, "its interval", medians(truth, seeds, many), 0.93, many
    for truth in EQUAL:
        if not truth.startswith("accuracy"):
            for rates in (1, 3, 12):
                for seeds in SEEDS:
                    planted = f"10% between the best of {rates}, {seeds} seeds: {truth}"
                    yield planted, "its interval", effects(truth, rates, seeds, many), 0.93, many
                for seeds, others in APART:
                    planted = f"10% between the best of {rates}, {seeds} and {others} other seeds"
                    held = effects(truth, rates, seeds, many, others)
                    yield f"{planted}: {truth}", "its interval", held, 0.93, many
    for right, count in ((0.95, 180), (0.995, 36), (0.5, 20)):
        planted = f"accuracy {right} of {count} rows"
        yield planted, "its interval", shares(right, count, many), 0.93, many
    for name in EXPONENTS:
        for power in (0.5, 1.0):
            held, told = exponents(name, power, many)
            yield f"best lr as B^{power}: {name}", f"told in {100 * told:.0f}%", held, 0.93, many


def main() -> None:
    """Print the table."""
    draws = (1000, 200, 20) if "--all" in sys.argv else (100, 20, 5)
    print(f"{'truth':68} {'stated':36} right")
    missed = 0
    for truth, stated, right, promised, count in rows(*draws):
        slack = 2 * math.sqrt(promised * (1 - promised) / count)
        verdict = "" if right >= promised - 5e-4 else " (within chance)"
        if right < promised - slack:
            verdict, missed = " MISSED", missed + 1
        print(f"{truth:68.68} {stated:36.36} {100 * right:.1f}%{verdict}", flush=True)
    print(f"{missed} missed")


if __name__ == "__main__":
    main()
