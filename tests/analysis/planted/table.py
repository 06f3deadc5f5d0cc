"""The planted truths at length, by hand: python tests/analysis/planted/table.py [--all]

Prints what was planted, what the report stated, and in how many sweeps that was right. With --all
200 sweeps of each kind (many minutes), else 20.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from test_best import EQUAL, SEEDS, SIZES, false_claims
from test_critical import DESIGNS, verdicts
from test_search import KINDS, searched


def main() -> None:
    """Print a line for each kind of truth."""
    draws = 200 if "--all" in sys.argv else 20
    print(f"{'truth':45} {'stated':45} right")
    for truth in EQUAL:
        for seeds in SEEDS:
            wrong = [100 * false_claims(truth, k, seeds, draws) for k in SIZES]
            stated = f"some of {', '.join(map(str, SIZES))} is not the best"
            told = ", ".join(f"{100 - share:.1f}%" for share in wrong)
            print(f"{f'equal: {truth}, {seeds} seeds':45.45} {stated:45} {told}", flush=True)
    for name in DESIGNS:
        told_, held, _ = verdicts(name, draws)
        stated = f"B_crit as a number in {told_} of {draws}"
        print(f"{f'B_crit 100: {name}':45.45} {stated:45} {100 * held / draws:.1f}%", flush=True)
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as where:
            good, rounds, worst = searched(kind, Path(where), max(20, draws // 10), 0.02)
        stated = f"done within {rounds} rounds, loss {worst:.3f} at worst"
        print(
            f"{f'optimum: {kind}':45.45} {stated:45} {good} of {max(20, draws // 10)}", flush=True
        )


if __name__ == "__main__":
    main()
