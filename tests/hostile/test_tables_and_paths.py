"""Every table and every odd place: it works or gets a sentence, and nothing else is touched."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from hostile import paths, tables
from hostile.warm import PARTS, Case, Warm, part_of

SAMPLED = 5
MOST = 100  # of the slow tests


@pytest.fixture(scope="module")
def run(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that trained on the good table."""
    place = tmp_path_factory.mktemp("trained")
    typed = [*tables.TRAIN.format(path="t.csv").split(), "hydra.run.dir=run"]
    case = Case("the good table", typed, files={"t.csv": tables.text(tables.rows())})
    assert warm.run(case, place).code == 0
    return place / "run"


def wrong(warm: Warm, cases: Sequence[Case]) -> list[str]:
    return [problem for case in cases for problem in warm.problems(case)]


def test_the_corpora_are_as_large_as_they_claim(tmp_path: Path) -> None:
    made = [*tables.training(), *tables.predicting(tmp_path)]
    assert len(made) >= 200
    assert len({case.name for case in made}) == len(made)
    assert len(paths.cases()) >= 20


def test_a_sample_of_tables_and_places(warm: Warm, run: Path) -> None:
    draw = random.Random(0)
    chosen = draw.sample(tables.training(), SAMPLED) + draw.sample(tables.predicting(run), 2)
    assert wrong(warm, [*chosen, *draw.sample(paths.cases(), SAMPLED)]) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_every_table_trains_or_gets_a_sentence(warm: Warm, part: int) -> None:
    assert wrong(warm, part_of(tables.training(), part, MOST)) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_every_table_is_predicted_for_or_gets_a_sentence(warm: Warm, run: Path, part: int) -> None:
    assert wrong(warm, part_of(tables.predicting(run), part, MOST)) == []


@pytest.mark.slow
def test_every_odd_place_works_or_gets_a_sentence(warm: Warm, run: Path) -> None:
    assert wrong(warm, [*paths.cases(), *paths.predictions(run)]) == []
