"""Stacked multiruns beside the same jobs one after another: here, and in plain Lightning.

Commands are timed whole. A job's price in Hydra's basic launcher, and in plain Lightning, is that
of some jobs of the same grid, whatever it takes to import libraries left out; the stack's time is
given whole, and less the time of the same command with one short run.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax_stack
import numpy as np
import torch
from contenders import Work, lightning_job
from overhead import LINEAR, MLP
from timing import claim, print_table

from descent.data.prepare import Description, Prepared, prepare
from descent.data.tensors import split_tensors
from descent.engine.blueprint import build_model
from descent.engine.grouping import footprint
from descent.engine.stacked_kernel import StackedKernel
from descent.job import Job
from descent.records.run import Run
from descent.sweep.planning import Planned
from descent.sweep.tasks import FitTask, run_task
from descent.training import train_together

ROOT = Path(__file__).parents[2]
SOME = 4  # plain jobs that stand for all
SEVERAL = 8  # jobs that stand for all in Hydra's basic launcher, whose start is taken off


def grid(low: float, high: float, count: int) -> str:
    """Learning rates at equal factors."""
    factor = (high / low) ** (1 / (count - 1))
    return ",".join(f"{low * factor**i:.4g}" for i in range(count))


def command(*typed: str) -> float:
    """Type a multirun in an empty directory; return its wall seconds."""
    where = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    undrawn = ("picture=false", "report=false")
    line = [sys.executable, str(ROOT / "src" / "train.py"), "-m", *typed, *undrawn]
    began = time.perf_counter()
    subprocess.run(line, cwd=where, check=True, stdout=subprocess.DEVNULL)
    taken = time.perf_counter() - began
    shutil.rmtree(where)
    return taken


def call(job: partial) -> float:
    """Return the seconds of a prepared training."""
    run = job()
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def compare(name: str, work: Work, lrs: int, seeds: int, rounds: int) -> list[str]:
    """Return a row of the table: whole grid, its share beyond imports, and both alternatives."""
    overrides = [*(o for o in work.overrides if not o.startswith("optimizer.lr")), "trainer=cpu",
                 f"stop.epochs={work.epochs}"]  # fmt: skip
    whole = [*overrides, f"optimizer.lr={grid(1e-3, 0.1, lrs)}", f"seed=range({seeds})"]
    fewer = [*overrides, f"optimizer.lr={grid(1e-3, 0.1, SEVERAL)}"]
    times: dict[str, list[float]] = {key: [] for key in ("stack", "start", "basic", "plain")}
    for _ in range(rounds):
        times["stack"].append(command(*whole))
        times["start"].append(command(*overrides, "stop.epochs=1"))
        one = command(*overrides, "hydra/launcher=basic", "optimizer.lr=0.01")
        times["basic"].append((command(*fewer, "hydra/launcher=basic") - one) / (SEVERAL - 1))
        plain = [call(partial(lightning_job, work)) for _ in range(SOME)]
        times["plain"].append(statistics.median(plain))
    runs = lrs * seeds
    beyond = [a - b for a, b in zip(times["stack"], times["start"], strict=True)]
    return [
        name, f"{runs:,}", f"{statistics.median(times['stack']):.1f} s",
        f"{statistics.median(beyond) / runs * 1e3:.1f} ms",
        *(_ratio(times[key], beyond, runs) for key in ("basic", "plain")),
        *(_ratio(times[key], times["stack"], runs) for key in ("plain",)),
    ]  # fmt: skip


def _ratio(each: list[float], stack: list[float], runs: int) -> str:
    ratios = [one * runs / all_of_them for one, all_of_them in zip(each, stack, strict=True)]
    return f"{statistics.median(ratios):.0f}x"


def curve(work: Work, sizes: tuple[int, ...], rounds: int = 2) -> list[list[str]]:
    """Return a row for each count of runs: wall microseconds a run-step, and the memory of a run.

    It is the slope over two lengths: validation, full losses, records and all that lies between
    windows are in it; imports, directories and what else is done once are not.
    """
    short, long = (
        work.config("trainer.limit_val_batches=1.0", f"stop.epochs={n}")
        for n in (2, 2 + work.epochs)
    )
    data = prepare(short["data"])
    model = build_model(short, Description.from_dict(data.describe()))
    one = footprint(short, model, data)
    rows = []
    for runs in sizes:
        taken = []
        for _ in range(rounds):
            (a, few), (b, many) = (together(config, runs, data) for config in (short, long))
            taken.append((b - a) / (many - few))
        spent = f"{statistics.median(taken) * 1e6:.2f} us"
        rows.append([work.name, f"{runs:,}", spent, f"{one.held / 2**20:.2f} MiB"])
    return rows


def together(config: dict[str, Any], runs: int, data: Prepared) -> tuple[float, int]:
    """Train runs of different lr in one fit; return its wall seconds and the run-steps."""
    where, steps = Path(tempfile.mkdtemp()), []
    lrs = [{**config["optimizer"], "lr": 0.01 * (1 + i / runs)} for i in range(runs)]
    jobs = [
        Job({**config, "optimizer": lr}, replace(data), Run(where / str(i)), one_of_many=True)
        for i, lr in enumerate(lrs)
    ]
    began = time.perf_counter()
    train_together(jobs, lambda _: None, lambda _, result: steps.append(result["step"]))
    taken = time.perf_counter() - began
    shutil.rmtree(where)
    return taken, sum(steps)


def beside_jax(work: Work, runs: int, rounds: int) -> list[str]:
    """Return a row: a run-step here, bare and with all records, and in JAX; losses are the same."""
    bare, whole, theirs = [], [], []
    for _ in range(rounds):
        seconds, losses = kernel_seconds(work, runs)
        there, expected = jax_stack.run_step_seconds(work, runs)
        np.testing.assert_allclose(losses, expected, rtol=2e-3)
        bare.append(seconds * 1e6)
        theirs.append(there * 1e6)
        whole.append(float(curve(work, (runs,), 1)[0][2].split()[0]))
    ratios = [
        statistics.median(a / b for a, b in zip(each, theirs, strict=True))
        for each in (bare, whole)
    ]
    figures = [f"{statistics.median(each):.0f} us" for each in (bare, whole, theirs)]
    return [work.name, f"{runs}", *figures, *(f"{ratio:.2f}" for ratio in ratios)]


def kernel_seconds(
    work: Work, runs: int, device: str = "cpu", *more: str
) -> tuple[float, np.ndarray]:
    """Return wall seconds a run-step of runs that differ in lr, by the kernel alone.

    The losses [K, R] of the first epoch come with them. A first epoch is not counted.
    """
    config = work.config(*more)
    data = prepare(config["data"])
    description = Description.from_dict(data.describe())
    lrs = [{**config["optimizer"], "lr": 0.01 * (1 + i / runs)} for i in range(runs)]
    configs = [{**config, "optimizer": lr} for lr in lrs]
    model = build_model(config, description)
    kernel = StackedKernel(configs, [model] * runs, description, torch.device(device))
    dtype = next(model.parameters()).dtype
    x, y = split_tensors(data, "train", torch.device(device), dtype)
    size = data.batch_size
    whole = len(x) // size * size
    first, began = torch.empty(0), 0.0
    for epoch in range(work.epochs + 1):
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch))[:whole]
        window = x[order.to(device)].unsqueeze(0), y[order.to(device)].unsqueeze(0)
        batches = kernel.batches(*window, size)
        losses = torch.stack([kernel.step(*b, kernel.rates.values, False)[0] for b in batches])
        host = losses.view(len(losses), -1).cpu()
        if epoch == 0:
            first, began = host, time.perf_counter()
    taken = time.perf_counter() - began
    return taken / (work.epochs * (whole // size) * runs), first.numpy()


def further_run(rounds: int) -> float:
    """Return milliseconds that a further linear run adds to a multirun, between 1,024 and 4,096."""
    linear = ("model=linear", "data=diabetes", "data.batch_size=20", "optimizer=sgd")
    typed = (*linear, "trainer=cpu", "stop.epochs=20", f"optimizer.lr={grid(1e-3, 0.1, 64)}")
    taken = []
    for _ in range(rounds):
        few, many = (command(*typed, f"seed=range({seeds})") for seeds in (16, 64))
        taken.append((many - few) / (64 * 48) * 1e3)
    return statistics.median(taken)


def alone(work: Work, rounds: int) -> list[str]:
    """Return a row: one job as a stack of one, and by Lightning as `src/train.py` trains it."""
    config = work.config("picture=false", "trainer.limit_val_batches=1.0")
    seconds = {stacked: [] for stacked in (True, False)}
    for _ in range(rounds + 1):
        for stacked, taken in seconds.items():
            where = Path(tempfile.mkdtemp()) / "run"
            task = FitTask((Planned(0, (), config, where),), stacked)
            began = time.perf_counter()
            (outcome,) = run_task(task)
            taken.append(time.perf_counter() - began)
            assert outcome.status == "ok", outcome
    ratios = [a / b for a, b in zip(seconds[True][1:], seconds[False][1:], strict=True)]
    stack, single = (statistics.median(taken[1:]) for taken in seconds.values())
    ratio = f"{statistics.median(ratios):.2f}"
    return [work.name, f"{work.steps:,}", f"{stack:.2f} s", f"{single:.2f} s", ratio]


def main(rounds: int = 2) -> bool:
    """Print the tables; return whether the targets are met."""
    header = ["jobs", "runs", "whole command", "a run beyond imports", "basic launcher takes",
              "plain Lightning takes", "even counting our imports"]  # fmt: skip
    mlp = Work("MLP 64-128-128-10, digits, B = 64, momentum", MLP, 20)
    linear = Work("linear 10-1, diabetes, B = 20, SGD", LINEAR, 20)
    table = [
        compare(mlp.name, mlp, 16, 4, rounds),
        compare(linear.name, linear, 64, 16, rounds),
    ]
    title = "A multirun (target: <= 7 s, and >= 10x and >= 100x plain Lightning)"
    print_table(title, header, table)
    rows = curve(Work(mlp.name, MLP, 3), (1, 4, 8, 16, 64, 256))
    rows += curve(Work(linear.name, LINEAR, 10), (1, 4, 16, 64, 256, 1024))
    print_table(
        "A run-step by the wall, one core (target: linear at 64 <= 7 us, at 1,024 <= 2 us)",
        ["jobs", "stacked", "a run-step", "memory a run, at most"], rows,
    )  # fmt: skip
    found_jax, beside = jax_stack.python(), []
    if not isinstance(found_jax, str):
        beside = [
            beside_jax(Work(mlp.name, MLP, max(3, 240 // runs)), runs, rounds)
            for runs in (8, 64, 256)
        ]
        header = ["jobs", "stacked", "a run-step", "with all records", "in JAX", "ratio",
                  "ratio with records"]  # fmt: skip
        title = f"The same in JAX {found_jax[1]}, jit(scan(vmap)), one core"
        print_table(title, header, beside)
    else:
        print(f"\nnot compared with JAX: {found_jax}")
    each = further_run(1)
    print(f"\na further linear run of 20 epochs in a multirun: {each:.1f} ms (target: <= 3 ms)")
    ones = [alone(Work(w.name, w.overrides, n), rounds) for w in (mlp, linear) for n in (20, 200)]
    print_table(
        "A stack of one beside a single run (target: <= 1.5)",
        ["job", "steps", "stack of one", "single run", "ratio"], ones,
    )  # fmt: skip
    found = {(row[0], row[1]): float(row[2].split()[0]) for row in rows}
    linears = {n: found[linear.name, n] for n in ("64", "1,024")}
    held = [
        claim("1,024 linear runs of 20 epochs, whole command", _number(table[1][2]), 7, "s"),
        claim("64 MLP runs of 20 epochs, whole command", _number(table[0][2]), 7, "s"),
        claim("MLP runs, of plain Lightning", _number(table[0][5]), 10, "times", at_least=True),
        claim("linear runs, of plain Lightning", _number(table[1][5]), 100, "times", at_least=True),
        claim("a linear run-step with records, R = 64", linears["64"], 7, "us"),
        claim("a linear run-step with records, R = 1,024", linears["1,024"], 2, "us"),
        claim("a further linear run", each, 3, "ms"),
        *(claim(f"a stack of one, of a single run: {r[0].split()[0]}, {r[1]} steps",
                float(r[-1]), 1.5, "times") for r in ones),
        *(claim(f"an MLP run-step, R = {r[1]}, of JAX's", float(r[-2]), 0.9, "times")
          for r in beside),
        *(claim(f"the same with all records, R = {r[1]}", float(r[-1]), 1.3, "times")
          for r in beside),
    ]  # fmt: skip
    return all(held)


def _number(text: str) -> float:
    """Return the number that a cell begins with."""
    return float(text.split()[0].rstrip("x"))
