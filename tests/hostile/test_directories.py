"""Nothing of a run or a multirun is ever run, and what is damaged in it is said in one sentence."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hostile.directories import MAY_WORK, SWEPT, TRAINED, cases
from hostile.warm import PARTS, Case, Warm, part_of, problems

SAMPLE = 14
MOST = 160  # of the slow tests


@pytest.fixture(scope="session")
def trained(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run and a multirun, as a user trains them."""
    place = tmp_path_factory.mktemp("trained")
    for command in (f"{TRAINED} hydra.run.dir=run", f"{SWEPT} hydra.sweep.dir=sweep"):
        done = warm.run(Case("trained", command), place)
        assert done.code == 0, done.stderr
    return place / "run", place / "sweep"


def told(warm: Warm, chosen: Sequence[Case]) -> list[str]:
    """Run cases; return what is wrong with each."""
    wrong = []
    for case in chosen:
        outcome = warm.run(case)
        if MAY_WORK in case.name and outcome.code == 2:
            case = replace(case, says=".")
        found = problems(case, outcome)
        found += [f"ran code: made {name}" for name in outcome.made if "owned" in name]
        said = (outcome.stderr or outcome.stdout).strip()[-600:]
        wrong += [f"{case.name}: {problem}\n    {said}" for problem in found]
    return wrong


def test_a_sample_of_what_was_tampered_with_runs_nothing_and_is_told(
    warm: Warm, trained: tuple[Path, Path]
) -> None:
    chosen = random.Random(0).sample(list(cases(*trained)), SAMPLE)
    assert told(warm, chosen) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_nothing_that_was_tampered_with_is_run_and_all_of_it_is_told(
    warm: Warm, trained: tuple[Path, Path], part: int
) -> None:
    every = list(cases(*trained))
    assert len(every) >= 250
    chosen = part_of(every, part, MOST)
    wrong = told(warm, chosen)
    assert not wrong, f"{len(wrong)} problems in {len(chosen)} cases:\n" + "\n".join(wrong)
