"""A sample of what `make crash` does: commands disturbed at their operations on files."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from crash.harness import SCENARIOS, Crash, chosen, sweep_of
from crash.shim import replay
from hostile.warm import ROOT, Warm


@pytest.fixture(scope="module")
def warm():
    process = Warm()
    yield process
    process.close()


def tried(warm: Warm, name: str, most: int, seed: int) -> Crash:
    scenario = next(s for s in SCENARIOS if s.name == name)
    crash = Crash(warm, scenario)
    for how, n in chosen(crash.cases(), most, seed):
        crash.try_out(how, n)
    crash.close()
    return crash


@pytest.mark.parametrize(("name", "most"), [("single run", 3), ("sweep", 2)])
def test_a_few_disturbed_commands_lose_nothing(name, most, warm):
    crash = tried(warm, name, most, seed=1)
    assert crash.operations > 30
    assert crash.tally.told == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [s.name for s in SCENARIOS])
def test_disturbed_commands_lose_nothing(name, warm):
    assert tried(warm, name, most=12, seed=2).tally.told == []


@pytest.mark.slow
def test_a_stack_that_ended_between_two_of_its_files_has_the_bits_of_the_whole(warm):
    crash = Crash(warm, next(s for s in SCENARIOS if s.name == "sweep"))
    done = []
    with crash.log.open("rb") as file:
        for _ in range(crash.operations):
            done.append(pickle.load(file))
    named = [(n, op[2]) for n, op in enumerate(done, 1) if op[0] == "replace"]
    own = ["sweep/0/checkpoints/last.ckpt", "sweep/1/checkpoints/last.ckpt"]
    saved = [(n, path) for n, path in named if path in own]
    between = [n for (n, path), (_, then) in pairwise(saved) if [path, then] == own]
    assert between
    crash.try_out("data", between[-1])
    ended = [n for n, path in named if path == "sweep/1/result.json"]
    crash.try_out("ENOSPC", ended[-1])  # the other one's result is there
    crash.close()
    assert crash.tally.told == []


def test_a_replay_keeps_what_was_synced_and_loses_the_rest(tmp_path):
    log = tmp_path / "log"
    operations = [
        ("open", ".a.part"), ("write", ".a.part", 0, b"new"), ("fsync", ".a.part"),
        ("replace", ".a.part", "a"), ("fsync", "."), ("open", "b"), ("write", "b", 0, b"lost"),
    ]  # fmt: skip
    log.write_bytes(b"".join(map(pickle.dumps, operations)))

    def left(upto: int, lost: str) -> dict[str, bytes]:
        at = tmp_path / f"{upto}{lost}"
        at.mkdir()
        (at / "a").write_bytes(b"old")
        replay(log, upto, at, lost)
        return {p.name: p.read_bytes() for p in at.iterdir()}

    assert left(4, "all") == {"a": b"old", ".a.part": b"new"}
    assert left(4, "data") == {"a": b"new"}
    assert left(7, "all") == {"a": b"new"}
    assert left(7, "data") == {"a": b"new", "b": b""}


# ---- processes killed at random


def children(pid: int) -> list[int]:
    """Return a process's descendants."""
    text = Path(f"/proc/{pid}/task/{pid}/children")
    own = [int(word) for word in text.read_text().split()] if text.exists() else []
    return own + [pid for child in own for pid in children(child)]


def alive(pids: list[int]) -> list[int]:
    left = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            left.append(pid)
    return left


SWEEP = (
    "-m", "data=iris", "model=linear", "stop.epochs=40", "seed=range(0,36)", "report=false",
    "optimizer.lr=0.1,0.01", "hydra.launcher.workers=2", "hydra.launcher.stack=18",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("seed", range(3))
def test_whatever_process_of_a_sweep_is_killed_its_sweep_ends_and_can_be_gone_on_with(
    seed, tmp_path
):
    chance = random.Random(seed)
    train = [sys.executable, str(ROOT / "src" / "train.py"), *SWEEP]
    straight = subprocess.run([*train, "hydra.sweep.dir=straight"], cwd=tmp_path, check=True,
                              capture_output=True, text=True)  # fmt: skip
    assert straight.returncode == 0
    process = subprocess.Popen([*train, "hydra.sweep.dir=sweep"], cwd=tmp_path, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    time.sleep(chance.uniform(1, 14))
    family = children(process.pid)
    victim = chance.choice([process.pid, *family])
    with suppress(ProcessLookupError):  # it had ended before
        os.kill(victim, signal.SIGKILL)
    if victim == process.pid:
        until = time.monotonic() + 3
        while alive(family) and time.monotonic() < until:
            time.sleep(0.05)
        assert alive(family) == []
    out, _ = process.communicate(timeout=120)
    assert "Traceback" not in out, out
    done = subprocess.run([*train, "sweep_dir=sweep"], cwd=tmp_path, check=False,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sweep_of(tmp_path / "sweep") == sweep_of(tmp_path / "straight")
