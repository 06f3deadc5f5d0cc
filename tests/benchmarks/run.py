"""All benchmarks, or those named: `make bench ARGS="overhead rows"`; twelve minutes at most.

Each prints its tables; the last table holds every claim against its target. One that fails says
so, and the others go on.

    rounds=1                # of each, to see that they run: figures need the usual two to nine
    tree=../descent-old     # commands (startup, multiruns) are those of another checkout
"""

from __future__ import annotations

import datetime
import importlib
import logging
import os
import platform
import sys
import time
import traceback
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

# seconds that each takes on two cores, where nothing else runs
BUDGET = {
    "startup": 110, "rows": 10, "overhead": 80, "memory": 25, "multiruns": 170, "slopes": 170,
    "jax_stack": 110, "tables": 45,
}  # fmt: skip


def main() -> int:
    """Run, print, and return 1 if a target was missed or something could not be measured."""
    import torch

    torch.set_num_threads(1)
    sys.path.insert(0, str(Path(__file__).parent))
    logging.disable(logging.WARNING)
    import timing

    try:
        chosen, rounds = _asked(sys.argv[1:])
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    began, broken = time.perf_counter(), []
    for name in chosen:
        started = time.perf_counter()
        try:
            importlib.import_module(name).main(**rounds)
        except Exception as error:  # the others are worth having
            traceback.print_exc()
            print(f"\n{name} could not be measured: {error}", flush=True)
            broken.append(name)
        spent = time.perf_counter() - started
        print(f"\n({name}: {spent:.0f} s, planned {BUDGET[name]})", flush=True)
    timing.print_table("Targets", ["claim", "measured", "target", ""], timing.CLAIMS)
    missed = sum(row[-1] == "missed" for row in timing.CLAIMS)
    took = (time.perf_counter() - began) / 60
    print(f"\n{_machine()}; {datetime.date.today()}; medians of interleaved runs, {took:.1f} min.")
    print(f"{len(timing.CLAIMS) - missed} targets met, {missed} missed.")
    if broken:
        print(f"error: {', '.join(broken)} could not be measured.", file=sys.stderr)
    return 1 if missed or broken else 0


def _asked(words: list[str]) -> tuple[list[str], dict[str, int]]:
    """Return which benchmarks are asked for, and how many rounds of each.

    Raises:
        ValueError: a word is none of theirs.
    """
    import timing

    chosen, rounds = [], {}
    for word in words:
        key, _, value = word.partition("=")
        if key == "rounds" and value.isdecimal() and int(value):
            rounds["rounds"] = int(value)
        elif key == "tree" and Path(value, "src", "train.py").is_file():
            os.environ[timing.TREE] = str(Path(value).resolve())
        elif word in BUDGET:
            chosen.append(word)
        else:
            raise ValueError(
                f"there is no benchmark '{word}'; choose from {', '.join(BUDGET)}, rounds=1, and "
                "tree=DIRECTORY with another checkout."
            )
    return chosen or list(BUDGET), rounds


def _machine() -> str:
    """Return what measured: processor, cores and releases."""
    import torch

    told = Path("/proc/cpuinfo")
    names = [line for line in told.read_text().splitlines() if "model name" in line] if (
        told.is_file()
    ) else []  # fmt: skip
    processor = names[0].partition(":")[2].strip() if names else platform.processor()
    return (
        f"{processor or platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, torch {torch.__version__}"
    )


if __name__ == "__main__":
    sys.exit(main())
