"""What a whole fit costs per step, next to a hand-written loop and to plain Lightning."""

from __future__ import annotations

from functools import partial

import torch
from contenders import Work, by_hand, ours, plain_lightning
from timing import claim, interleave, print_table

TARGETS = {"linear": 0.8, "MLP": 0.6}  # by the name's first word

LINEAR = (
    "model=linear",
    "data=diabetes",
    "data.batch_size=20",
    "optimizer=sgd",
    "optimizer.lr=0.01",
)
MLP = ("model=mlp", "data=digits", "optimizer=momentum")
BARE = ("callbacks=bare",)  # the records only: step losses to TensorBoard and CSV


def works(device: str) -> list[Work]:
    """Return the two measured jobs, long enough that setting a trainer up is a small part."""
    return [
        Work("linear 10-1, diabetes, B = 20, SGD", LINEAR, 200, device),
        Work("MLP 64-128-128-10, digits, B = 64, momentum", MLP, 60, device),
    ]


def main(rounds: int = 5) -> bool:
    """Print the table; return whether the target is met."""
    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    rows, met = [], True
    for work in [w for device in devices for w in works(device)]:
        timings = interleave(
            {
                "by hand": partial(by_hand, work),
                "Descent": partial(ours, work, *BARE),
                "Descent, all default callbacks": partial(ours, work),
                "plain Lightning": partial(plain_lightning, work),
            },
            "by hand",
            rounds,
        )
        kind = work.name.split()[0]
        what = f"a single {kind} fit, of a loop by hand, {work.device}"
        met &= claim(what, timings["Descent"].ratio, TARGETS[kind], "times")
        for name, timing in timings.items():
            per_step = timing.median / work.steps * 1e6
            rows.append(
                [
                    work.name,
                    work.device,
                    name,
                    f"{per_step:.0f} us",
                    f"{timing.ratio:.2f}",
                    timing.spread,
                ]
            )
    header = ["job", "device", "who", "a step", "ratio", "range"]
    print_table(
        "Whole fit per step, one thread (target: Descent <= 0.8 for linear, <= 0.6 for MLP)",
        header,
        rows,
    )
    return met
