"""What a multirun has to do: its jobs checked, finished ones left out, the rest in groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from descent.config.check import check_values, settle_paths
from descent.config.machine import check_counts
from descent.data.own_metrics import settle_metrics
from descent.engine.grouping import shape, why_alone
from descent.errors import ForeignError, UserError
from descent.files.atomic import adopt, foreign, parts_of
from descent.files.bounded import MOST_YAML, DamageError, read_checkpoint, read_text
from descent.metrics import check_metrics
from descent.records.endings import Reason, Status, ended_by
from descent.records.multirun import REPEATS
from descent.records.pathfile import FILE as PATH_FILE
from descent.records.run import BEST, CONFIG, FILES, LAST, Run, config_text
from descent.sweep.composing import Composed
from descent.sweep.sources import prepare_apart, prepared

FINAL = (Status.OK, Status.DIVERGED)
# Where and how a multirun was started; none of it changes what a job computes.
INCIDENTAL = ("paths", "sweep_dir", "after", "resume", "trust", "report", "lesson")


@dataclass(frozen=True)
class Planned:
    """A job that is known to be good.

    Args:
        number: its place in the multirun.
        overrides: to repeat it by.
        config: resolved.
        directory: where it goes, or lies.
    """

    number: int
    overrides: tuple[str, ...]
    config: dict[str, Any]
    directory: Path


@dataclass
class Group:
    """Jobs that are trained in the same way.

    Args:
        jobs: which ones.
        alone: why each trains by itself; None if they share a fit.
        turn: why they take their steps in turn there; None if they stack.
    """

    jobs: list[Planned] = field(default_factory=list)
    alone: str | None = None
    turn: str | None = None


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Args:
        groups: jobs to be trained.
        finished: jobs that an earlier attempt finished.
        lost: jobs whose data cannot be had, and why.
    """

    groups: list[Group]
    finished: list[Planned]
    lost: list[tuple[Planned, str]]


def plan(composed: Sequence[Composed], sweep: Path, seconds: float | None = None) -> Plan:
    """Check all jobs, and tell what is to be done with each.

    Args:
        composed: the jobs.
        sweep: the multirun's directory.
        seconds: that code of others may take with the data of a job; None for any time.

    Raises:
        UserError: a job cannot be trained, or two would share a directory.
    """
    jobs = [_planned(job, sweep) for job in composed]
    _check_directories(jobs)
    without = prepare_apart((job.config["data"] for job in jobs), seconds)
    reasons = [without.get(repr(job.config["data"])) if without else None for job in jobs]
    for job, reason in zip(jobs, reasons, strict=True):
        if reason is None:
            with telling(job):
                data = prepared(job.config["data"])
                settle_metrics(job.config, data)
                check_metrics(job.config, data.describe())
    sentences = {job.number: why for job, why in zip(jobs, reasons, strict=True) if why}
    jobs, finished = _without_finished(jobs, sweep)
    _check_contents(jobs)
    lost = [(job, sentences[job.number]) for job in jobs if job.number in sentences]
    groups: dict[str, Group] = {}
    for job in jobs:
        if job.number in sentences:
            continue
        why = why_alone(job.config)
        key = f"alone {why}" if why else shape(job.config)
        groups.setdefault(key, Group(alone=why)).jobs.append(job)
    return Plan(list(groups.values()), finished, lost)


def _planned(job: Composed, sweep: Path) -> Planned:
    config = job.config
    try:
        if config.get("resume") is not None:
            raise UserError("resume= continues one run and cannot be part of a multirun.")
        check_values(config)
        check_counts(config)
        settle_paths(config)
    except UserError as error:
        raise of_job(job, error) from error
    config["sweep_dir"] = None
    typed = tuple(o for o in job.overrides if not o.lstrip("+").startswith("sweep_dir="))
    # repeats this job alone where a recipe asks for many
    return Planned(job.number, (*typed, REPEATS), config, sweep / job.directory)


def of_job(job: Composed | Planned, error: UserError) -> UserError:
    """Return a job's mistake as one of the multirun."""
    typed = " ".join(o for o in job.overrides if o != REPEATS)
    return UserError(f"Job {job.number} ({typed}): {error}")


@contextmanager
def telling(job: Composed | Planned) -> Iterator[None]:
    """Tell a job's mistake as one of the multirun; what the user's own code does is for the job."""
    try:
        yield
    except ForeignError:
        raise
    except UserError as error:
        raise of_job(job, error) from error


def _check_directories(jobs: Sequence[Planned]) -> None:
    known: dict[Path, Planned] = {}
    for job in jobs:
        other = known.setdefault(job.directory, job)
        if other is not job:
            raise UserError(
                f"Jobs {other.number} and {job.number} would share the directory {job.directory}; "
                "put ${hydra.job.num} into hydra.sweep.subdir."
            )


def _check_contents(jobs: Sequence[Planned]) -> None:
    """Refuse to clear a directory in which somebody has put something of theirs."""
    for job in jobs:
        if job.directory.is_symlink() or not job.directory.is_dir():
            continue
        others = foreign(job.directory, FILES)
        if others:
            raise UserError(
                f"{others[0]} is not Descent's, and would be lost with {job.directory}, which "
                f"job {job.number} needs; move it away, or give another directory."
            )


def _without_finished(jobs: list[Planned], sweep: Path) -> tuple[list[Planned], list[Planned]]:
    """Tell the jobs that finished in an earlier attempt from the rest, by their resolved config.

    A job may have another number than it had then: it is known by its config. The rest get
    directories in which nothing is finished.
    """
    there = _finished_configs(sweep)
    taken = {path for paths in there.values() for path in paths}
    if not there:
        return jobs, []
    finished, rest = [], []
    for job in jobs:
        found = there.get(_identity(config_text(job.config)))
        if found:
            at = job.directory if job.directory in found else found[0]
            found.remove(at)  # each stands for one job, however many are equal
            finished.append(Planned(job.number, job.overrides, job.config, at))
        else:
            rest.append(job)
    return [_moved(job, taken) for job in rest], finished


@dataclass(frozen=True)
class Stand:
    """Where a job of a stack stood when it was saved last: those of one stand go on together.

    Args:
        stack: the name of the jobs that trained together.
        step: taken.
        in_epoch: steps of the epoch that was not over.
        abreast: how many jobs went on from there.
    """

    stack: str
    step: int
    in_epoch: int
    abreast: int


def stand(job: Planned) -> Stand | None:
    """Return where a job stands that an earlier attempt began; None where it begins anew."""
    run = Run(job.directory)
    try:
        if not _was_cut_short(run.result()):
            return None
        text = read_text(run.path / CONFIG, MOST_YAML)
        if _identity(text) != _identity(config_text(job.config)):
            return None
        return _stand_of(run.checkpoint(LAST))
    except (UserError, DamageError, OSError, KeyError, TypeError):  # then from its start
        return None


def is_begun(job: Planned) -> bool:
    """Whether an earlier attempt began a job and did not end it."""
    try:
        return _was_cut_short(Run(job.directory).result())
    except UserError:
        return False


def _was_cut_short(result: Mapping[str, Any]) -> bool:
    """Whether a run was ended by what has nothing to do with it."""
    return result["status"] in (Status.RUNNING, Status.INTERRUPTED) or ended_by(result, Reason.DISK)


def _stand_of(state: Mapping[str, Any]) -> Stand | None:
    if not state.get("stack"):
        return None
    within = state["descent"]["steps_in_epoch"]
    return Stand(state["stack"], state["global_step"], within, state.get("abreast", 0))


def caught_up(job: Planned, ahead: Stand) -> bool:
    """Let a job go on from where others of its stack stand, if it was saved there too.

    All checkpoints of one moment are on the disk before the first gets its name; a kill between
    the first name and the last leaves some of them under the names of temporary files.

    Args:
        job: that stands further behind.
        ahead: where the others stand.
    """
    run = Run(job.directory)
    for part in parts_of(run.checkpoint_path(LAST)):
        try:
            if _stand_of(read_checkpoint(part)) != ahead:
                continue
        except (DamageError, OSError, AttributeError, KeyError, TypeError):
            continue
        for path in (run.checkpoint_path(BEST), run.path / PATH_FILE):  # what belongs to it
            for beside in parts_of(path):
                adopt(beside, path)
        adopt(part, run.checkpoint_path(LAST))  # last, as when it is written
        return True
    return False


def _finished_configs(sweep: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(file.parent for file in sweep.rglob(CONFIG)):
        try:
            if Run(path).result()["status"] in FINAL:
                text = read_text(path / CONFIG, MOST_YAML)
                found.setdefault(_identity(text), []).append(path)
        except (UserError, FileNotFoundError, DamageError):
            continue
    return found


def _moved(job: Planned, taken: set[Path]) -> Planned:
    directory, free = job.directory, job.number
    while directory in taken:
        free += 1
        directory = job.directory.with_name(str(free))
    taken.add(directory)
    return Planned(job.number, job.overrides, job.config, directory)


def _identity(text: str) -> str:
    """Return a config's text without the sections that change nothing."""
    kept, keep = [], True
    for line in text.splitlines():
        if line and not line[0].isspace() and line[0] not in "-#":
            keep = line.split(":", 1)[0] not in INCIDENTAL
        if keep:
            kept.append(line)
    return "\n".join(kept)
