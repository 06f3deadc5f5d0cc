"""Every option of the corpus: what cannot be meant gets its sentence and leaves nothing behind."""

from __future__ import annotations

import pytest

from hostile import options
from hostile.warm import PARTS, Warm, part_of

SAMPLED = 12
MOST = 200  # of the slow tests


def test_the_corpus_is_as_large_as_it_claims_and_names_each_case_once() -> None:
    names = [case.name for case in options.cases()]
    assert len(names) >= 350
    assert len(set(names)) == len(names)


def test_a_sample_of_the_options(warm: Warm) -> None:
    wrong = [problem for case in options.sample(SAMPLED) for problem in warm.problems(case)]
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_every_option_is_answered(warm: Warm, part: int) -> None:
    cases = part_of(options.cases(), part, MOST)
    wrong = [problem for case in cases for problem in warm.problems(case)]
    assert wrong == []
