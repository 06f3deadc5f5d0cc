"""All benchmarks, or those named: `make bench ARGS="overhead rows"`; twelve minutes at most.

Each prints its tables; the last table holds every claim against its target.
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

ALL = ("startup", "rows", "overhead", "memory", "stacks", "tables")


def main() -> int:
    """Run, print, and return 1 if a target was missed or something could not be measured."""
    import torch

    torch.set_num_threads(1)
    sys.path.insert(0, str(Path(__file__).parent))
    logging.disable(logging.WARNING)
    chosen = sys.argv[1:] or list(ALL)
    unknown = [name for name in chosen if name not in ALL]
    if unknown:
        print(
            f"error: there is no benchmark '{unknown[0]}'; choose from {', '.join(ALL)}.",
            file=sys.stderr,
        )
        return 2
    import timing

    began, broken = time.perf_counter(), []
    for name in chosen:
        started = time.perf_counter()
        try:
            importlib.import_module(name).main()
        except Exception:  # the others are worth having
            traceback.print_exc()
            broken.append(name)
        print(f"\n({name}: {time.perf_counter() - started:.0f} s)", flush=True)
    timing.print_table("Targets", ["claim", "measured", "target", ""], timing.CLAIMS)
    missed = sum(row[-1] == "missed" for row in timing.CLAIMS)
    took = (time.perf_counter() - began) / 60
    print(f"\n{_machine()}; {datetime.date.today()}; medians of interleaved runs, {took:.1f} min.")
    print(f"{len(timing.CLAIMS) - missed} targets met, {missed} missed.")
    if broken:
        print(f"error: {', '.join(broken)} could not be measured.", file=sys.stderr)
    return 1 if missed or broken else 0


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
