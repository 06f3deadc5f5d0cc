"""The harness notices what it is for: each kind of problem, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostile.warm import Case, Outcome, Warm, problems

SENTENCE = "error: optimizer.lr=0 does not fit: it must be a number above 0.\n"


def outcome(**what: object) -> Outcome:
    usual = {
        "code": 0, "stdout": "", "stderr": "", "made": [], "changed": [], "hung": False,
        "left": False, "seconds": 0.1,
    }  # fmt: skip
    return Outcome(**{**usual, **what})  # type: ignore[arg-type]


WORKS, REFUSED = Case("works", "train"), Case("refused", "train", says="does not fit")
GOOD = outcome(code=2, stderr=SENTENCE)


@pytest.mark.parametrize(
    ("case", "done", "wrong"),
    [
        (WORKS, outcome(), []),
        (WORKS, outcome(made=["outputs/", "outputs/runs/x/result.json"]), []),
        (WORKS, outcome(made=["x.csv"]), ["made x.csv"]),
        (WORKS, outcome(changed=["mine.csv"]), ["changed or removed mine.csv"]),
        (WORKS, outcome(hung=True), ["it hangs"]),
        (WORKS, outcome(left=True), ["a process left behind"]),
        (WORKS, outcome(stderr="UserWarning: not writable"), ["a library's warning"]),
        (WORKS, outcome(stdout="Traceback (most recent call last):"), ["a traceback"]),
        (WORKS, GOOD, ["exit code 2 instead of 0"]),
        (REFUSED, GOOD, []),
        (REFUSED, outcome(), ["exit code 0 instead of 2", "not one line 'error: ...'"]),
        (REFUSED, outcome(code=2, stderr=SENTENCE * 2), ["not one line 'error: ...'"]),
        (REFUSED, outcome(code=2, stderr=SENTENCE, made=["outputs/"]), ["made outputs/"]),
        (REFUSED, outcome(code=2, stderr="error: does not fit <class 'int'>.\n"),
         ["Python's words for its objects"]),
        (REFUSED, outcome(code=2, stderr="error: something else.\n"),
         ["the sentence does not match 'does not fit'"]),
    ],
)  # fmt: skip
def test_each_problem_is_noticed(case: Case, done: Outcome, wrong: list[str]) -> None:
    assert problems(case, done) == wrong


def test_a_command_runs_as_typed_and_what_it_did_is_seen(warm: Warm, tmp_path: Path) -> None:
    refused = warm.run(Case("lr", "train optimizer.lr=0"))
    assert (refused.code, refused.stderr, refused.stdout) == (2, SENTENCE, "")

    case = Case("small", "train data=iris model=linear stop.epochs=1 picture=false name=x")
    ran = warm.run(case, tmp_path)
    assert problems(case, ran) == []
    assert [name for name in ran.made if name.endswith("result.json")]
    assert list(tmp_path.glob("outputs/runs/*/result.json"))


def test_a_command_that_does_not_end_is_killed(warm: Warm) -> None:
    hangs = Case(
        "hangs", "train data.source._target_=slow.rows", cpu=1, environment={"PYTHONPATH": "."},
        files={"slow.py": "def rows():\n    while True:\n        pass\n"},
    )  # fmt: skip
    assert warm.problems(hangs)[0].startswith("hangs: it hangs\n")
