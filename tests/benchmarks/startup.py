"""What a command costs before and beside training."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from timing import interleave, print_table

TRAIN = str(Path(__file__).parents[2] / "src" / "train.py")
QUICK, WHOLE = 1.2, 3.0  # seconds


def main(rounds: int = 5) -> bool:
    """Print the table; return whether the targets are met."""
    quick = {
        "`--help`": [TRAIN, "--help"],
        "`--cfg job`": [TRAIN, "--cfg", "job"],
        "a mistyped option": [TRAIN, "optimizer.lrr=1"],
        "a value out of range": [TRAIN, "optimizer.lr=-1"],
    }
    long = {"default training": [TRAIN], "`import lightning`": ["-c", "import lightning"]}
    contenders = {name: partial(_typed, args) for name, args in (quick | long).items()}
    timings = interleave(contenders, "`import lightning`", rounds)
    rows = [[name, f"{timings[name].median:.2f} s", f"<= {QUICK} s"] for name in quick]
    pairs = zip(
        timings["default training"].seconds, timings["`import lightning`"].seconds, strict=True
    )
    beyond = sorted(a - b for a, b in pairs)[rounds // 2]
    rows += [[name, f"{timings[name].median:.2f} s", ""] for name in long]
    rows.append(["default training beyond the import", f"{beyond:.2f} s", f"<= {WHOLE} s"])
    print_table("Wall time of a command", ["command", "median", "target"], rows)
    return beyond <= WHOLE and all(timings[name].median <= QUICK for name in quick)


def _typed(arguments: list[str]) -> object:
    directory = tempfile.mkdtemp()
    return lambda: subprocess.run(
        [sys.executable, *arguments], cwd=directory, capture_output=True, check=False
    )
