"""What a command costs before and beside training."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from functools import partial

from timing import claim, interleave, print_table, script

QUICK, WHOLE, SIX, COMBINATION = 0.5, 3.5, 3.0, 20.0  # seconds, and milliseconds
GROUPS = ("-m", "data=three_points", "model=linear", "stop.steps=1", "report=false",
          "optimizer=sgd,momentum,nesterov,adagrad,rmsprop,adam,adamw")  # fmt: skip
SCHEDULERS = "constant,step,exponential,inverse_time,cosine,warmup_cosine"


def main(rounds: int = 3) -> bool:
    """Print the table; return whether the targets are met."""
    train = script()
    quick = {
        "`--help`": [*train, "--help"],
        "`--cfg job`": [*train, "--cfg", "job"],
        "a mistyped option": [*train, "optimizer.lrr=1"],
        "a value out of range": [*train, "optimizer.lr=-1"],
    }
    whole, six, plain = "default training", "six optimizers on a valley", "`import lightning`"
    long = {
        whole: train,
        six: [*train, "experiment=optimizers_on_a_valley", "report=false"],
        plain: [train[0], "-c", "import lightning"],
    }
    few = {f"{n} schedules": [*train, *GROUPS, f"scheduler={','.join(SCHEDULERS.split(',')[:n])}"]
           for n in (1, 6)}  # fmt: skip
    contenders = {name: partial(_typed, args) for name, args in (long | few).items()}
    contenders |= {name: partial(_typed, args, (0, 2)) for name, args in quick.items()}
    timings = interleave(contenders, plain, rounds)
    rows = [[name, f"{timings[name].median:.2f} s", f"<= {QUICK} s"] for name in quick]
    rows += [
        [whole, f"{timings[whole].median:.2f} s", f"<= {WHOLE} s"],
        [six, f"{timings[six].median:.2f} s", f"<= {SIX} s"],
        [plain, f"{timings[plain].median:.2f} s", ""],
    ]
    pairs = zip(timings["1 schedules"].seconds, timings["6 schedules"].seconds, strict=True)
    each = sorted((b - a) / 35 for a, b in pairs)[rounds // 2] * 1e3
    rows.append(["a further combination of groups", f"{each:.0f} ms", f"<= {COMBINATION:.0f} ms"])
    print_table("Wall time of a command", ["command", "median", "target"], rows)
    held = [claim(f"{name}, wall", timings[name].median, QUICK, "s") for name in quick]
    held.append(claim("`python src/train.py`, wall", timings[whole].median, WHOLE, "s"))
    held.append(claim("six optimizers on a valley, wall", timings[six].median, SIX, "s"))
    held.append(claim("a further combination of groups", each, COMBINATION, "ms"))
    return all(held)


def _typed(line: list[str], ends: tuple[int, ...] = (0,)) -> Callable[[], object]:
    """Return a command that is to end with one of these codes: what fails at once is not fast."""
    directory = tempfile.mkdtemp()

    def run() -> None:
        done = subprocess.run(line, cwd=directory, capture_output=True, text=True, check=False)
        assert done.returncode in ends, done.stderr[-2000:]

    return run
