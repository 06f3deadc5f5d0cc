"""The same stacked training in JAX 0.12 or newer, in a venv of its own where this one has none.

jax 0.10 on CPU can return wrong values for a vmapped matrix-vector product; 0.12 needs Python 3.12.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from contenders import Work
from overhead import MLP
from slopes import kernel_seconds, run_step
from timing import claim, print_table
from torch import nn

ROOT = Path(__file__).parents[2]
OWN = ROOT / ".venv-jax"
LEAST = (0, 12)
MINUTES = 3  # that installing it may take
SIZES = (8, 64, 256)  # R
STEP, RECORDED = 0.9, 1.3  # targets: of JAX's time, a step alone and with all its records
ASKED = "import jax; print(jax.__version__)"


def main(rounds: int = 2) -> bool:
    """Print a run-step here and in JAX; return whether the targets are met.

    Raises:
        RuntimeError: there is no JAX, and none can be had.
        AssertionError: the two do not train alike.
    """
    found = python()
    if isinstance(found, str):
        raise RuntimeError(f"not compared with JAX: {found}")
    rows = [beside(Work("MLP", MLP, max(3, 240 // runs)), runs, rounds) for runs in SIZES]
    header = ["stacked", "a run-step", "with all records", "in JAX", "ratio", "ratio with records"]
    print_table(f"MLP 64-128-128-10 in JAX {found[1]}, jit(scan(vmap)), one core", header, rows)
    held = [claim(f"an MLP run-step, R = {r[0]}, of JAX's", float(r[-2]), STEP, "times")
            for r in rows]  # fmt: skip
    held += [claim(f"the same with all records, R = {r[0]}", float(r[-1]), RECORDED, "times")
             for r in rows]  # fmt: skip
    return all(held)


def beside(work: Work, runs: int, rounds: int) -> list[str]:
    """Return a row: a run-step here, bare and with all records, and in JAX; losses are the same."""
    bare, whole, theirs = [], [], []
    for _ in range(rounds):
        seconds, losses = kernel_seconds(work, runs)
        there, expected = run_step_seconds(work, runs)
        np.testing.assert_allclose(losses, expected, rtol=2e-3)
        bare.append(seconds * 1e6)
        theirs.append(there * 1e6)
        whole.append(run_step(work, runs, 1) * 1e6)
    ratios = [
        statistics.median(a / b for a, b in zip(each, theirs, strict=True))
        for each in (bare, whole)
    ]
    figures = [f"{statistics.median(each):.0f} us" for each in (bare, whole, theirs)]
    return [f"{runs}", *figures, *(f"{ratio:.2f}" for ratio in ratios)]


@cache
def python() -> tuple[str, str] | str:
    """Return a Python that has JAX with its release, or why there is none.

    It is this one, or one of `.venv-jax`, which is made where a Python 3.12 or newer is found.
    """
    own = OWN / "bin" / "python"
    for candidate in (sys.executable, str(own)):
        found = _release(candidate)
        if found is not None:
            return candidate, found
    newer = _newer_python()
    if newer is None:
        return "jax 0.12 needs Python 3.12 or newer, and none is found"
    print(f"making {OWN.name} with {newer} and jax, once", flush=True)
    pip = [str(own), "-m", "pip", "install", "-q", "--disable-pip-version-check", "jax>=0.12"]
    for line in ([newer, "-m", "venv", str(OWN)], pip):
        failed = _failed(line) and _failed(line)  # once more, if the network was slow to answer
        if failed is not None:
            return failed
    found = _release(str(own))
    return (str(own), found) if found else f"{OWN.name} has no jax 0.12"


def _failed(line: list[str]) -> str | None:
    """Run a command; return why it failed, if it did."""
    what = " ".join(line[1:4])
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=60 * MINUTES)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{what} failed: {error}"
    last = (done.stderr.strip().splitlines() or ["no word"])[-1]
    return f"{what} failed: {last}" if done.returncode else None


def _release(executable: str) -> str | None:
    """Return the release of JAX that a Python has, if it is new enough."""
    if not Path(executable).exists():
        return None
    done = subprocess.run([executable, "-c", ASKED], capture_output=True, text=True)
    found = re.match(r"(\d+)\.(\d+)", done.stdout)
    return done.stdout.strip() if found and tuple(map(int, found.groups())) >= LEAST else None


def _newer_python() -> str | None:
    """Return a Python of 3.12 or newer: on the path, or one of pyenv's."""
    names = [f"python3.{minor}" for minor in (13, 12, 14)]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    places = [p for name in names for p in sorted(pyenv.glob(f"*/bin/{name}"))]
    for place in [*filter(None, map(shutil.which, names)), *map(str, places)]:
        done = subprocess.run([place, "-c", "import venv, ssl"], capture_output=True)
        if done.returncode == 0:  # a shim of pyenv's may lead nowhere
            return place
    return None


def run_step_seconds(work: Work, runs: int) -> tuple[float, np.ndarray]:
    """Return wall seconds a run-step of R runs that differ in lr, on one core, compiling left out.

    The losses [K, R] of the first epoch come with them.

    Args:
        work: an MLP trained with momentum on classes.
        runs: R.
    """
    x, y, model, _, _, size = work.parts()
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    whole = len(x) // size * size  # the short last batch would be a program of its own
    orders = [
        torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:whole].numpy()
        for seed in range(work.epochs)
    ]
    lrs = [0.01 * (1 + i / runs) for i in range(runs)]
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(
            file, x=x.numpy(), y=y.numpy(), orders=np.array(orders),
            lrs=np.array(lrs, dtype=np.float32), size=size,
            momentum=work.config()["optimizer"]["momentum"],
            **{f"weight{i}": layer.weight.detach().numpy() for i, layer in enumerate(layers)},
            **{f"bias{i}": layer.bias.detach().numpy() for i, layer in enumerate(layers)},
        )  # fmt: skip
        file.flush()
        line = [python()[0], str(Path(__file__).with_name("jax_worker.py")), file.name]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    return told["seconds"], np.array(told["losses"])
