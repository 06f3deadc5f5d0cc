"""What a multirun is going to do: groups, refusals, and what an earlier attempt has finished."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st

import descent.cli  # noqa: F401 - registers the resolvers
from descent.config.check import plain
from descent.errors import UserError
from descent.records.endings import Status
from descent.records.run import CONFIG, Run, config_text
from descent.sweep.composing import Composed
from descent.sweep.planning import Planned, plan

CONF = Path(__file__).parents[2] / "conf"
WINE = ("data=wine", "model=linear")
FINAL = ("ok", "diverged")


@cache
def resolved(*typed: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose("train", overrides=list(typed)))


def job(number: int, *typed: str, at: str | None = None, **changed: Any) -> Composed:
    """Return a job; `changed` are values at the top of its config, set without composing."""
    config = copy.deepcopy(resolved(*typed)) | changed
    more = [f"{key}={value}" for key, value in changed.items()]
    return Composed(number, (*typed, *more), config, Path(at or str(number)))


def jobs(*typed: Sequence[str]) -> list[Composed]:
    return [job(number, *own) for number, own in enumerate(typed)]


def groups_of(composed: Sequence[Composed], sweep: Path) -> list[list[int]]:
    planned = plan(composed, sweep)
    groups, finished = planned.groups, planned.finished
    assert finished == []
    return [[job.number for job in group.jobs] for group in groups]


# ---- groups


def test_jobs_that_differ_in_numbers_only_form_one_group(tmp_path: Path) -> None:
    made = jobs(
        WINE,
        (*WINE, "seed=1"),
        (*WINE, "optimizer.lr=0.5", "scheduler=cosine", "model.init=normal"),
        (*WINE, "optimizer=sgd", "penalty.l1=0.1", "clip.norm=1", "stop.loss=0.5"),
        (*WINE, "name=other", "optimized_metric=val/accuracy"),
    )
    planned = plan(made, tmp_path)
    groups, finished = planned.groups, planned.finished
    (group,) = groups
    assert finished == []
    assert group.alone is None
    assert [job.number for job in group.jobs] == [0, 1, 2, 3, 4]
    assert [job.directory for job in group.jobs] == [tmp_path / str(n) for n in range(5)]
    assert [job.config["seed"] for job in group.jobs] == [0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    "other",
    [
        (*WINE, "data.batch_size=8"),
        (*WINE, "data.order=sequential"),
        (*WINE, "data.split_seed=1"),
        (*WINE, "optimizer=adam"),
        (*WINE, "optimizer=nesterov"),
        (*WINE, "stop.epochs=3"),
        (*WINE, "trainer=float64"),
        (*WINE, "callbacks.recorder.grad_norm_every=1"),
        ("data=iris", "model=linear", "data.batch_size=16"),
        ("data=wine", "model=mlp"),
    ],
)
def test_jobs_of_different_shapes_form_groups_of_their_own(
    other: tuple[str, ...], tmp_path: Path
) -> None:
    made = jobs(WINE, other, WINE, other)
    assert groups_of(made, tmp_path) == [[0, 2], [1, 3]]


def test_widths_tell_groups_apart(tmp_path: Path) -> None:
    widths = ("8", "9", "8", "8,8", "9")
    made = jobs(*(("data=wine", f"model.hidden=[{width}]") for width in widths))
    assert groups_of(made, tmp_path) == [[0, 2], [1, 4], [3]]


def test_what_cannot_be_stacked_is_alone_for_a_reason(tmp_path: Path) -> None:
    alone = (*WINE, "+callbacks.mine._target_=mine.Own")
    made = jobs(
        WINE,
        alone,
        (*WINE, "trainer.precision=16-mixed"),
        (*WINE, "seed=1"),
        (*WINE, "diagnostics=sharpness"),
        (*alone, "data.batch_size=8"),
    )
    groups = plan(made, tmp_path).groups
    assert [([job.number for job in group.jobs], group.alone) for group in groups] == [
        ([0, 3], None),
        ([1, 5], "callbacks.mine works on one run"),
        ([2], "trainer.precision=16-mixed is for one run"),
        ([4], None),
    ]


def test_a_job_is_repeated_by_what_was_typed_for_it(tmp_path: Path) -> None:
    made = job(0, *WINE, "sweep_dir=somewhere")
    assert made.config["sweep_dir"] == "somewhere"
    groups = plan([made], tmp_path).groups
    (planned,) = groups[0].jobs
    assert planned.overrides == (*WINE, "hydra.mode=RUN")
    assert planned.config["sweep_dir"] is None


def test_a_table_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "below").mkdir()
    rows = "\n".join(f"{i},{i % 7},{2 * i}" for i in range(40))
    (tmp_path / "rows.csv").write_text(f"a,b,y\n{rows}\n")
    monkeypatch.chdir(tmp_path / "below")
    table = ("data=table", "data.path=../rows.csv", "data.target=y", "data.batch_size=8")
    groups = plan([job(0, *table)], tmp_path).groups
    data = groups[0].jobs[0].config["data"]
    assert data["path"] == data["source"]["path"] == str(tmp_path / "rows.csv")


# ---- refusals


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ("optimizer.lr=-1", "optimizer.lr=-1 does not fit: it must be a number above 0."),
        ("seed=null", "seed=null does not fit: it must be a whole number of at least 0."),
        ("stop.epochs=null", "Nothing would end this run: give stop.epochs, stop.steps or both"),
        ("~penalty", "penalty.l1 is missing from the config; put it back"),
        ("data.augment.shift=1", "data.augment.shift=1 needs images, which these data are not"),
        ("+data.source.rows=5", "data.source.rows is no argument of descent.data.bundled.wine"),
        ("resume=there", "resume= continues one run and cannot be part of a multirun."),
    ],
)
def test_a_job_that_cannot_be_trained_is_named(bad: str, sentence: str, tmp_path: Path) -> None:
    made = [job(3, *WINE), job(4, *WINE, bad), job(5, *WINE)]
    with pytest.raises(UserError) as error:
        plan(made, tmp_path)
    assert str(error.value).startswith(f"Job 4 ({' '.join(WINE)} {bad}): {sentence}")


def test_two_jobs_cannot_share_a_directory(tmp_path: Path) -> None:
    made = [job(n, *WINE, at=at) for n, at in enumerate(["a", "b", "c", "b"])]
    with pytest.raises(UserError) as error:
        plan(made, tmp_path)
    assert str(error.value) == (
        f"Jobs 1 and 3 would share the directory {tmp_path / 'b'}; "
        "put ${hydra.job.num} into hydra.sweep.subdir."
    )


# ---- an earlier attempt


def planned(composed: Sequence[Composed], sweep: Path) -> tuple[list[Planned], list[Planned]]:
    """Return the jobs that are left, by number, and those that are finished."""
    planned = plan(composed, sweep)
    groups, finished = planned.groups, planned.finished
    left = [job for group in groups for job in group.jobs]
    return sorted(left, key=lambda job: job.number), finished


def write(job: Composed, sweep: Path, status: Status, at: str | None = None) -> Path:
    """Leave what a run of a job leaves."""
    (one,), _ = planned([job], Path("nowhere"))
    directory = sweep / (at or job.directory)
    directory.mkdir(parents=True)
    run = Run(directory)
    (directory / CONFIG).write_text(config_text(one.config))
    run.write_result({"status": status, "reason": "for a test", "step": 1, "epoch": 1})
    return directory


@pytest.mark.parametrize("status", list(Status))
def test_what_ended_by_itself_is_finished_and_what_was_cut_short_is_not(
    status: Status, tmp_path: Path
) -> None:
    write(job(0, *WINE), tmp_path, status)
    left, finished = planned([job(0, *WINE), job(1, *WINE, seed=1)], tmp_path)
    done = status in FINAL
    assert [job.number for job in finished] == ([0] if done else [])
    assert [job.number for job in left] == ([1] if done else [0, 1])
    assert {job.directory for job in left} == {tmp_path / str(job.number) for job in left}


def test_a_finished_job_is_known_by_its_config_whatever_its_number(tmp_path: Path) -> None:
    for number in range(4):
        write(job(number, *WINE, seed=number), tmp_path, Status.OK)
    # seeds 2, 3, 4 now; the seeds 2 and 3 lie where they lay
    left, finished = planned([job(n, *WINE, seed=n + 2) for n in range(3)], tmp_path)
    assert {job.number: job.directory.name for job in finished} == {0: "2", 1: "3"}
    assert [job.config["seed"] for job in finished] == [2, 3]
    ((number, directory),) = [(job.number, job.directory) for job in left]
    assert number == 2
    assert not directory.exists()


def test_where_and_how_a_multirun_was_started_makes_no_other_job(tmp_path: Path) -> None:
    written = job(0, *WINE, sweep_dir="there", trust=["numpy"])
    written.config["paths"] = {"outputs": "o", "run": "r", "sweep": "s"}
    write(written, tmp_path, Status.OK)
    again = job(0, *WINE, sweep_dir=str(tmp_path), trust=["scipy", "numpy"])
    assert [job.number for job in planned([again], tmp_path)[1]] == [0]


@pytest.mark.parametrize(
    "change",
    [
        *("seed=1", "optimizer.lr=0.5", "stop.epochs=21", "name=x", "penalty.l2=0.1"),
        *("optimizer.lr=0.020000000000000004", "+note=new", "optimizer=sgd", "stop.loss=0.1"),
    ],
)
def test_another_config_is_another_job(change: str, tmp_path: Path) -> None:
    write(job(0, *WINE), tmp_path, Status.OK)
    left, finished = planned([job(0, *WINE, change)], tmp_path)
    assert finished == []
    assert [job.directory.exists() for job in left] == [False]


def test_directories_that_are_no_runs_are_nothing_finished(tmp_path: Path) -> None:
    write(job(0, *WINE), tmp_path, Status.OK, at="whole")
    for name in ("no_result", "no_config", "cut_short", "nonsense"):
        write(job(0, *WINE, seed=1), tmp_path, Status.OK, at=name)
    (tmp_path / "no_result" / "result.json").unlink()
    (tmp_path / "no_config" / "config.yaml").unlink()
    (tmp_path / "cut_short" / "result.json").write_text('{"status": "ok", "rea')
    (tmp_path / "nonsense" / "result.json").write_text('["ok"]')
    (tmp_path / "results.csv").write_text("status\n")
    left, finished = planned([job(0, *WINE), job(1, *WINE, seed=1)], tmp_path)
    assert [(job.number, job.directory.name) for job in finished] == [(0, "whole")]
    assert [(job.number, job.directory.name) for job in left] == [(1, "1")]


@settings(deadline=None, max_examples=40)
@given(
    there=st.lists(
        st.tuples(st.integers(0, 7), st.integers(0, 9), st.sampled_from(list(Status))),
        unique_by=(lambda run: run[0], lambda run: run[1]), max_size=6,
    ),
    seeds=st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True),
    first=st.integers(0, 3),
)  # fmt: skip
def test_no_job_goes_where_something_is_finished(
    there: list[tuple[int, int, Status]],
    seeds: list[int],
    first: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    sweep = tmp_path_factory.mktemp("sweep")
    for number, seed, status in there:
        write(job(number, *WINE, seed=seed), sweep, status)
    done = {seed: sweep / str(number) for number, seed, status in there if status in FINAL}
    left, finished = planned([job(n, *WINE, seed=s) for n, s in enumerate(seeds, first)], sweep)
    assert [job.config["seed"] for job in finished] == [s for s in seeds if s in done]
    assert all(job.directory == done[job.config["seed"]] for job in finished)
    assert [job.config["seed"] for job in left] == [s for s in seeds if s not in done]
    assert all(seeds[job.number - first] == job.config["seed"] for job in [*left, *finished])
    places = [job.directory for job in left]
    assert len(set(places)) == len(places)
    assert not set(places) & set(done.values())
    assert {place.parent for place in places} <= {sweep}


# ---- what is known to go wrong


def test_finished_jobs_are_known_further_below_too(tmp_path: Path) -> None:
    write(job(0, *WINE, at="wine/0"), tmp_path, Status.OK)
    left, finished = planned([job(0, *WINE, at="wine/0")], tmp_path)
    assert [job.directory for job in finished] == [tmp_path / "wine/0"]
    assert left == []


@pytest.mark.parametrize("bad", ["+callbacks.foo.bar=1", "+logger.foo.bar=1", "data.source=null"])
def test_a_node_that_makes_nothing_is_refused(bad: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^Job 0 "):
        plan([job(0, *WINE, bad)], tmp_path)


def test_no_job_goes_where_one_of_several_equal_runs_is_finished(tmp_path: Path) -> None:
    equal = [write(job(n, *WINE), tmp_path, Status.OK) for n in range(2)]
    left, _ = planned([job(0, *WINE, seed=1)], tmp_path)
    assert not {job.directory for job in left} & set(equal)


def test_jobs_that_are_equal_keep_their_own_directories(tmp_path: Path) -> None:
    equal = [write(job(n, *WINE), tmp_path, Status.OK) for n in range(2)]
    _, finished = planned([job(n, *WINE) for n in range(2)], tmp_path)
    assert sorted(job.directory for job in finished) == equal
