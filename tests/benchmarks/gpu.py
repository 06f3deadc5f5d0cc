"""Descent on a GPU beside a CPU: `make bench-gpu`, at most eight minutes.

    python tests/benchmarks/gpu.py [device]     # cuda; cpu tries the script out, without a meaning

Parity first: the same steps in float64 on both, as they are and replayed as CUDA graphs. Then
run-steps by the kernel alone, R = 1 to 4,096, without graphs and with them; single fits beside a
loop by hand and plain Lightning; and which device `auto` would choose. A part that fails says so,
and the others go on.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from contenders import Work, by_hand, ours, plain_lightning
from overhead import BARE, LINEAR, MLP
from slopes import kernel_seconds
from timing import interleave, print_table

from descent.assembly import build_model, fastest_device
from descent.data.prepare import prepare
from descent.engine.graphs import Capture, captured

SIZES = (1, 4, 16, 64, 256, 1024, 4096)
DOUBLE = "trainer.precision=64-true"
PARITY = 1e-9  # of float64 losses over an epoch: sums are taken in another order
MOST_TIMES = 4.0  # 1,024 MLP runs may take so many times the wall time of one
SECONDS = 480.0


def capture_of(device: str) -> Capture:
    """Return what makes graphs of steps on a device; on the CPU a tape, to try the script out."""
    if device == "cuda":
        return captured
    sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
    from taped import taped

    return taped


def parity(device: str, epochs: int = 1) -> bool:
    """Print how far float64 losses of an epoch are from the CPU's; return whether within bounds."""
    rows, met = [], True
    for name, overrides in (("linear", LINEAR), ("MLP", MLP)):
        work = Work(name, overrides, epochs)
        _, here = kernel_seconds(work, 4, "cpu", DOUBLE)
        for how, capture in (("", None), (", as graphs", capture_of(device))):
            _, there = kernel_seconds(work, 4, device, DOUBLE, capture=capture)
            away = float(np.abs(there / here - 1).max())
            met &= away <= PARITY
            rows.append([f"{name}{how}", f"{away:.1e}", f"<= {PARITY:.0e}"])
    print_table(
        f"float64 losses of an epoch, {device} against cpu", ["model", "away", "bound"], rows
    )
    return met


def run_steps(device: str, sizes: Sequence[int], left: Callable[[], bool]) -> bool:
    """Print run-steps a second for each R; return whether 1,024 MLP runs take at most four of one.

    Args:
        device: where.
        sizes: R.
        left: whether there is time for another.
    """
    rows, taken = [], {}
    for name, overrides in (("linear 10-1", LINEAR), ("MLP 64-128-128-10", MLP)):
        for runs in sizes:
            if not left():
                rows.append([name, f"{runs:,}", "no time left", "", "", ""])
                continue
            work = Work(name, overrides, 3)
            plain, _ = kernel_seconds(work, runs, device)
            graphs, _ = kernel_seconds(work, runs, device, capture=capture_of(device))
            taken[name, runs] = graphs * runs
            times = graphs * runs / taken[name, sizes[0]]
            rows.append([
                name, f"{runs:,}", f"{1 / plain:,.0f}", f"{1 / graphs:,.0f}",
                f"{plain / graphs:.2f}", f"{times:.1f}",
            ])  # fmt: skip
    header = ["model", "stacked", "run-steps a second", "as graphs", "faster",
              "wall time of one run, as graphs"]  # fmt: skip
    print_table(f"Run-steps on {device}", header, rows)
    many, one = ((("MLP 64-128-128-10", n)) for n in (1024, sizes[0]))
    return many not in taken or taken[many] <= MOST_TIMES * taken[one]


def chosen(device: str, sizes: Sequence[int]) -> bool:
    """Print which device `auto` would choose for so many runs, measured anew."""
    devices, rows = [torch.device("cpu"), torch.device(device, 0)], []
    with tempfile.TemporaryDirectory() as directory:
        os.environ["XDG_CACHE_HOME"] = directory
        for name, overrides in (("linear 10-1", LINEAR), ("MLP 64-128-128-10", MLP)):
            config = Work(name, overrides, 1).config("trainer.accelerator=auto")
            data = prepare(config["data"])
            model = build_model(config, data.description)
            for runs in sizes:
                choice = fastest_device(devices, [config] * runs, [model] * runs, data)
                assert choice is not None
                rows.append([name, f"{runs:,}", str(choice.device), choice.reason])
    print_table("What trainer.accelerator=auto takes", ["model", "runs", "device", "why"], rows)
    return True


def single(device: str, epochs: int, rounds: int) -> bool:
    """Print a single fit beside a loop by hand and plain Lightning, on the device."""
    rows = []
    for name, overrides in (("linear", LINEAR), ("MLP", MLP)):
        work = Work(name, overrides, epochs, device)
        contenders = {
            "by hand": partial(by_hand, work), "Descent": partial(ours, work, *BARE),
            "plain Lightning": partial(plain_lightning, work),
        }  # fmt: skip
        for who, timing in interleave(contenders, "by hand", rounds).items():
            step = timing.median / work.steps * 1e6
            rows.append([name, who, f"{step:.0f} us", f"{timing.ratio:.2f}", timing.spread])
    header = ["job", "who", "a step", "ratio", "range"]
    print_table(f"A single fit on {device}, per step", header, rows)
    return True


def main(
    device: str = "cuda", sizes: Sequence[int] = SIZES, epochs: int = 40, rounds: int = 3
) -> int:
    """Print all tables; return 1 if a bound was missed, 2 if there is no such device."""
    if device == "cuda" and not torch.cuda.is_available():
        print("error: no CUDA device is found; `gpu.py cpu` tries the script out.", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    began = time.perf_counter()
    card = torch.cuda.get_device_name() if device == "cuda" else "the CPU, to try the script out"
    print(f"torch {torch.__version__} on {card}; not compiled")
    parts = {
        "parity": lambda: parity(device),
        "single fits": lambda: single(device, epochs, rounds),
        "device choice": lambda: chosen(device, (sizes[0], sizes[-1])),
        "run-steps": lambda: run_steps(
            device, sizes, lambda: time.perf_counter() - began < SECONDS * 0.9
        ),
    }
    met = True
    for name, part in parts.items():
        try:
            met &= part()
        except Exception as error:  # the others are worth having
            traceback.print_exc()
            print(f"\n{name} could not be measured: {error}", flush=True)
            met = False
    print(f"\n{time.perf_counter() - began:.0f} s")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
