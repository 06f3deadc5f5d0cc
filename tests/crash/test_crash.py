"""A sample of what `make crash` does: commands disturbed at their operations on files."""

from __future__ import annotations

import pickle
import sys
from itertools import pairwise

import pytest

from crash.harness import SCENARIOS, Crash, chosen
from crash.kills import KINDS, Kills, Undisturbed
from crash.shim import replay
from hostile.warm import Warm


@pytest.fixture(scope="module")
def warm():
    process = Warm()
    yield process
    process.close()


@pytest.fixture(scope="module")
def undisturbed():
    with Undisturbed() as found:
        yield found


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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_process_is_killed_nothing_is_lost_or_left(kind, undisturbed):
    kills = Kills(kind, undisturbed)
    kills.kill(seed=0)
    assert kills.tally.told == []
