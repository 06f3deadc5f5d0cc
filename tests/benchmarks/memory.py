"""How much memory training data take: once, plus one window."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from timing import claim, print_table

GROWTH = 0.01  # MB an epoch
ROWS, FEATURES = 4_000_000, 32  # 488 MiB of float32
PROGRAM = f"""
import sys, resource, tempfile, gc
sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np
from contenders import *
from descent.data.arrays import Arrays, Task, numeric
import descent.data.prepare as prepare_module

def wide():
    x = np.random.default_rng(0).standard_normal(({ROWS}, {FEATURES}), dtype=np.float32)
    return Arrays(x, x[:, 0].copy(), Task.REGRESSION, numeric([str(i) for i in range({FEATURES})]),
                  disposable=True)

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

overrides = ("model=linear", "data=line", "data.batch_size=4096", "callbacks=bare")
work = Work("memory", overrides, 1)
config = work.config()
before = resident()
build = prepare_module.build
prepare_module.build = lambda *a, **k: wide()
prepared = prepare_module.prepare(config["data"])
prepare_module.build = build
from descent.job import Job
from descent.records.run import Run
from descent.assembly import assemble
learner, data, trainer = assemble(Job(config, prepared, Run(tempfile.mkdtemp())))
from lightning.pytorch import Callback

class Watch(Callback):
    most = 0
    def on_train_batch_end(self, *_):
        Watch.most = max(Watch.most, resident())

trainer.callbacks.append(Watch())
trainer.fit(learner, datamodule=data)
print(before, Watch.most, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def main(rounds: int = 1) -> bool:
    """Print the table; return whether the data are held once while training."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    before, training, peak = map(int, done.stdout.split()[-3:])
    data = ROWS * (FEATURES + 1) * 4
    sizes = {
        "held while training, beyond the program": training - before,
        "peak, while the source is turned into tensors": peak - before,
    }
    rows = [["training data", f"{data / 2**20:,.0f} MiB", ""]]
    rows += [[k, f"{v / 2**20:,.0f} MiB", f"{v / data:.2f}x"] for k, v in sizes.items()]
    print_table(
        "Memory (target: data once, plus a window of 64 MiB)", ["what", "size", "of the data"], rows
    )
    most = (data + 2 * 64 * 2**20) / 2**20
    held = claim("memory held while training on 504 MiB", (training - before) / 2**20, most, "MiB")
    return claim("memory that a stack of 16 gains, an epoch", growth(), GROWTH, "MB") and held


def growth(epochs: int = 500, after: int = 200) -> float:
    """Return the MB that a stack of 16 linear runs gains in an epoch, when caches are full."""
    script = Path(__file__).parents[1] / "engine" / "resident.py"
    with tempfile.TemporaryDirectory() as directory:
        line = [sys.executable, str(script), directory, str(epochs)]
        done = subprocess.run(line, check=True, capture_output=True, text=True)
    seen = json.loads(done.stdout.splitlines()[-1])
    return float(np.polyfit(np.arange(after, epochs), seen[after:], 1)[0])
