"""Stacked multiruns beside the same jobs one after another: here, and in plain Lightning.

Commands are timed whole. A job's price in Hydra's basic launcher, and in plain Lightning, is that
of some jobs of the same grid, whatever it takes to import libraries left out; the stack's time is
given whole, and less the time of the same command with one short run.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from functools import partial

from contenders import Work, lightning_job
from overhead import LINEAR, MLP
from timing import claim, print_table, scratch, script

from descent.sweep.planning import Planned
from descent.sweep.tasks import FitTask, run_task

SOME = 4  # plain jobs that stand for all
SEVERAL = 8  # jobs that stand for all in Hydra's basic launcher, whose start is taken off


def grid(low: float, high: float, count: int) -> str:
    """Learning rates at equal factors."""
    factor = (high / low) ** (1 / (count - 1))
    return ",".join(f"{low * factor**i:.4g}" for i in range(count))


def command(*typed: str) -> float:
    """Type a multirun in an empty directory; return its wall seconds."""
    where = scratch()
    undrawn = ("picture=false", "report=false")
    line = [*script(), "-m", *typed, *undrawn]
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
            where = scratch() / "run"
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
    each = further_run(1)
    print(f"\na further linear run of 20 epochs in a multirun: {each:.1f} ms (target: <= 3 ms)")
    ones = [alone(Work(w.name, w.overrides, n), rounds) for w in (mlp, linear) for n in (20, 200)]
    print_table(
        "A stack of one beside a single run (target: <= 1.5)",
        ["job", "steps", "stack of one", "single run", "ratio"], ones,
    )  # fmt: skip
    held = [
        claim("1,024 linear runs of 20 epochs, whole command", _number(table[1][2]), 7, "s"),
        claim("64 MLP runs of 20 epochs, whole command", _number(table[0][2]), 7, "s"),
        claim("MLP runs, of plain Lightning", _number(table[0][5]), 10, "times", at_least=True),
        claim("linear runs, of plain Lightning", _number(table[1][5]), 100, "times", at_least=True),
        claim("a further linear run", each, 3, "ms"),
        *(claim(f"a stack of one, of a single run: {r[0].split()[0]}, {r[1]} steps",
                float(r[-1]), 1.5, "times") for r in ones),
    ]  # fmt: skip
    return all(held)


def _number(text: str) -> float:
    """Return the number that a cell begins with."""
    return float(text.split()[0].rstrip("x"))
