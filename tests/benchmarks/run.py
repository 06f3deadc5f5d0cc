"""All benchmarks, or those named: `make bench ARGS="overhead rows"`."""

from __future__ import annotations

import importlib
import logging
import os
import platform
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

ALL = ("startup", "rows", "overhead", "memory", "stacks", "tables")


def main() -> int:
    """Run, print, and return 1 if a target was missed."""
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
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    print(f"{versions}, {os.cpu_count()} cores; medians of interleaved runs")
    missed = [name for name in chosen if not importlib.import_module(name).main()]
    print(f"\nmissed: {', '.join(missed)}" if missed else "\nall targets met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
