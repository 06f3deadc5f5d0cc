"""`make crash`: what Descent promises of every operation on files and of every process, printed."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count

from crash.harness import SCENARIOS, Crash, Scenario, Tally, chosen
from crash.kills import KINDS, Kills, Undisturbed
from hostile.warm import Warm

EVERY = 100  # cases, between two lines of progress
FAULTS = (
    "lost", "repeated", "unreadable", "tracebacks", "no sentence", "still running", "hangs", "left",
)  # fmt: skip


def table(tallies: dict[str, Tally]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"{'':<26}" + "".join(f"{kind:>14}" for kind in ("tried", *FAULTS))
    total = Tally()
    for tally in tallies.values():
        total.update(tally)
    for name, tally in {**tallies, "all": total}.items():
        yield f"{name:<26}" + "".join(f"{tally[kind]:>14,}" for kind in ("tried", *FAULTS))


def disturbed(scenario: Scenario, most: int | None, jobs: int) -> tuple[str, Tally]:
    """Try out all cases of a scenario, or so many; return its name for the table."""
    said, began, tally = count(1), time.monotonic(), Tally()

    def one(part: int) -> tuple[int, Tally]:
        warm = Warm()
        crash = Crash(warm, scenario)
        cases = chosen(crash.cases(), most)
        ours = cases[part * len(cases) // jobs : (part + 1) * len(cases) // jobs]
        for how, n in ours:
            told = len(crash.tally.told)
            crash.try_out(how, n)
            for line in crash.tally.told[told:]:
                print(line, flush=True)
            done = next(said)
            if done % EVERY == 0 or done == len(cases):
                seconds = time.monotonic() - began
                words = f"{scenario.name}: {done:,} of {len(cases):,} in {seconds:,.0f} s"
                print(words, flush=True)
        crash.close()
        warm.close()
        return crash.operations, crash.tally

    with ThreadPoolExecutor(jobs) as pool:
        parts = list(pool.map(one, range(jobs)))
    for _, part in parts:
        tally.update(part)
    return f"{scenario.name} ({parts[0][0]})", tally


def killed(kinds: Sequence[str], kills: int) -> Iterator[tuple[str, Tally]]:
    """Yield what came of kills of each kind of process, with its name for the table."""
    with Undisturbed() as undisturbed:
        for kind in kinds:
            began, tries = time.monotonic(), Kills(kind, undisturbed)
            for seed in range(kills):
                tries.kill(seed)
            for line in tries.tally.told:
                print(line, flush=True)
            seconds = time.monotonic() - began
            print(f"kills of the {kind}: {kills} in {seconds:,.0f} s", flush=True)
            yield f"kills of the {kind}", tries.tally


def main(most: int | None, names: Sequence[str], jobs: int, kills: int) -> int:
    """Try out everything, print the table; return how much was wrong."""
    asked: Callable[[str], bool] = lambda name: not names or name in names  # noqa: E731
    tallies: dict[str, Tally] = {}
    for scenario in SCENARIOS:
        if asked(scenario.name):
            tallies |= [disturbed(scenario, most, jobs)]
    kinds = [kind for kind in KINDS if asked(kind) or "kills" in names]
    if kinds and kills:
        tallies |= killed(kinds, kills)
    for line in table(tallies):
        print(line)
    return sum(tally[kind] for tally in tallies.values() for kind in FAULTS)


if __name__ == "__main__":
    asked = argparse.ArgumentParser(prog="make crash", description=__doc__)
    asked.add_argument("most", nargs="?", type=int, help="cases of each command; all if left out")
    asked.add_argument("--of", action="append", default=[],
                       help="a command, a kind of process, or kills; all if left out")  # fmt: skip
    asked.add_argument("--jobs", type=int, default=2, help="commands at a time")
    asked.add_argument("--kills", type=int, default=5, help="of each kind of process")
    given = asked.parse_args()
    sys.exit(1 if main(given.most, given.of, given.jobs, given.kills) else 0)
