"""What a run-step costs by the wall: slopes over two lengths of training.

A slope holds all that grows with the epochs: validation, full losses, records, what lies between
windows. Imports, directories and what else is done once are not in it.
"""

from __future__ import annotations

import math
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from contenders import Work, by_hand
from overhead import LINEAR, MLP
from timing import claim, print_table, scratch

from descent.data.prepare import Description, Prepared, prepare
from descent.data.tensors import split_tensors
from descent.engine.blueprint import build_model
from descent.engine.graphs import Capture
from descent.engine.grouping import footprint
from descent.engine.stacked_kernel import StackedKernel
from descent.job import Job
from descent.records.run import Run
from descent.training import train_together

LEAST = 1.5  # seconds between the two lengths: below it, a busy moment turns a slope's sign
SHORT = 2  # epochs of the shorter one
MLPS, LINEARS = (1, 4, 8, 16, 64, 256), (1, 4, 16, 64, 256, 1024)  # R
EVERY = ("trainer.limit_val_batches=1.0",)  # validate after every epoch
BEYOND = 1.05  # of a loop by hand, a single run
STEPS_ALONE = 1.4  # of the kernel's steps alone, 64 MLPs


def main(rounds: int = 2) -> bool:
    """Print the tables; return whether the targets are met."""
    mlp, linear = Work("MLP 64-128-128-10", MLP, 4), Work("linear 10-1", LINEAR, 40)
    found, rows = {}, []
    for work, sizes in ((mlp, MLPS), (linear, LINEARS)):
        held = _held(work)
        for runs in sizes:
            found[work, runs] = each = run_step(work, runs, rounds)
            rows.append([work.name, f"{runs:,}", f"{each * 1e6:.2f} us", held])
    title = "A run-step by the wall, one core: validation, full loss and records every epoch"
    print_table(title, ["runs", "stacked", "a run-step", "memory a run, at most"], rows)
    held = [
        claim("a linear run-step with records, R = 64", found[linear, 64] * 1e6, 7, "us"),
        claim("a linear run-step with records, R = 1,024", found[linear, 1024] * 1e6, 2, "us"),
    ]
    alone = kernel_seconds(replace(mlp, epochs=2), 64)[0]
    held.append(claim("an MLP run-step with records, R = 64, of the step alone",
                      found[mlp, 64] / alone, STEPS_ALONE, "times"))  # fmt: skip
    rows = []
    for work in (mlp, linear):
        hand = steepest(partial(_hand, work), _first_try(work, 1), rounds)
        ours = found[work, 1]
        rows.append(
            [work.name, f"{hand * 1e6:.0f} us", f"{ours * 1e6:.0f} us", f"{ours / hand:.2f}"]
        )
        held.append(claim(f"a single {work.name} run that validates and records, of a loop by hand "
                          "that validates as often", ours / hand, BEYOND, "times"))  # fmt: skip
    title = "A single run by its slope, beside a loop by hand that measures as often"
    print_table(title, ["run", "by hand, a step", "Descent, a step", "ratio"], rows)
    return all(held)


def run_step(work: Work, runs: int, rounds: int) -> float:
    """Return wall seconds a run-step of R runs that differ in lr, with all that is recorded."""
    config = work.config(*EVERY)
    data = prepare(config["data"])

    def train(epochs: int) -> tuple[float, int]:
        return together({**config, "stop": {**config["stop"], "epochs": epochs}}, runs, data)

    return steepest(train, _first_try(work, runs), rounds)


def _first_try(work: Work, runs: int) -> int:
    """Return epochs whose steps alone take about half of what is to lie between two lengths."""
    each, steps = kernel_seconds(replace(work, epochs=1), runs)[0], work.steps / work.epochs
    return math.ceil(LEAST / (2 * each * runs * steps))


def steepest(train: Callable[[int], tuple[float, int]], more: int, rounds: int) -> float:
    """Return the median slope of seconds over run-steps, of lengths that are far enough apart.

    Args:
        train: takes so many epochs; returns seconds and run-steps.
        more: epochs to begin with between the lengths.
        rounds: slopes to take the median of.
    """
    slopes: list[float] = []
    while len(slopes) < rounds:
        (a, few), (b, many) = train(SHORT), train(SHORT + more)
        enough = max(LEAST, a / 2)  # what is done once varies, too, and is long for many runs
        if b - a >= enough or slopes:
            slopes.append((b - a) / (many - few))
        else:
            more *= min(10, math.ceil(1.2 * enough / max(b - a, enough / 10)))
    return statistics.median(slopes)


def together(config: dict[str, Any], runs: int, data: Prepared) -> tuple[float, int]:
    """Train runs of different lr in one fit; return its wall seconds and the run-steps."""
    where, steps = scratch(), []
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


def kernel_seconds(
    work: Work, runs: int, device: str = "cpu", *more: str, capture: Capture | None = None
) -> tuple[float, np.ndarray]:
    """Return wall seconds a run-step of runs that differ in lr, by the kernel alone.

    The losses [K, R] of the first epoch come with them. A first epoch is not counted.

    Args:
        work: what is trained.
        runs: R.
        device: where.
        more: options.
        capture: what makes graphs of steps; None for steps as they are.

    Raises:
        RuntimeError: no graph could be made.
    """
    config = work.config(*more)
    data = prepare(config["data"])
    description = Description.from_dict(data.describe())
    lrs = [{**config["optimizer"], "lr": 0.01 * (1 + i / runs)} for i in range(runs)]
    configs = [{**config, "optimizer": lr} for lr in lrs]
    model = build_model(config, description)
    kernel = StackedKernel(configs, [model] * runs, description, torch.device(device))
    if capture is not None:
        kernel.use_graphs(capture)
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
    if kernel.graphs is not None and kernel.graphs.given_up:
        raise RuntimeError("steps could not be captured")
    return taken / (work.epochs * (whole // size) * runs), first.numpy()


def _held(work: Work) -> str:
    config = work.config()
    data = prepare(config["data"])
    model = build_model(config, Description.from_dict(data.describe()))
    return f"{footprint(config, model, data).held / 2**20:.2f} MiB"


def _hand(work: Work, epochs: int) -> tuple[float, int]:
    """Train by hand, measuring after each epoch; return the seconds and the steps."""
    work = replace(work, epochs=epochs)
    train, steps = by_hand(work, measures=True), work.steps
    began = time.perf_counter()
    train()
    return time.perf_counter() - began, steps
