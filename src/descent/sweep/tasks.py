"""What a worker does: trains some jobs as a stack, or one by itself, and says how each ended."""

from __future__ import annotations

import gc
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from descent.errors import UserError, WriteError, first_line, out_of_memory
from descent.files.atomic import FATAL, appending, clear, clear_parts, make_directory
from descent.job import Job
from descent.records.endings import Ending, Reason, Status
from descent.records.result import RunFigures, after, line_of, optimized
from descent.records.run import FILES, LOG, LogFile, Run
from descent.signals import received
from descent.sweep.planning import FINAL, Planned
from descent.sweep.sources import prepared

TICK_SECONDS = 0.1
STEPS = 0  # the column of the board beside that of when a task began
DIED = "the worker process that trained it died"
LOG_FORMAT = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")


@dataclass(frozen=True)
class FitTask:
    """Some jobs for one worker.

    Args:
        jobs: of one group.
        together: in one fit, or each alone.
        in_turn: within that fit, one after the other.
        board: the file in which progress is noted, and the row of this task; None for nowhere.
        stack: the name of runs that go on together from their checkpoints; None to begin anew.
        after: what became of a stack of more jobs that these were part of; None if there was none.
    """

    jobs: tuple[Planned, ...]
    together: bool
    in_turn: bool = False
    board: tuple[Path, int] | None = None
    stack: str | None = None
    after: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Args:
        number: the job's.
        status: of its run.
        sentence: why it ended.
        metric: what a sweeper optimizes; None if there is none.
        directory: of the run.
        after: what became of the stack that it was to be part of, where it was trained by itself
            instead.
        parted: how many runs there were in a stack that did not fit in memory, of which it was
            trained in a part; None if there was none.
    """

    number: int
    status: Status
    sentence: str
    metric: float | None
    directory: Path
    after: str | None = None
    parted: int | None = None


def run_task(task: FitTask) -> list[Outcome]:
    """Train the jobs; what goes wrong with one is that one's outcome."""
    import torch

    torch.set_num_threads(1)
    _note_began(task)
    if not task.together:
        return [replace(_alone(job), after=task.after) for job in task.jobs]
    done, failure = _tried(task)
    rest = tuple(job for job in task.jobs if job.number not in done)
    if failure is not None and out_of_memory(failure) and len(rest) > 1:
        failure = None  # with which go the tensors that its frames hold
        done |= {outcome.number: outcome for outcome in _in_parts(task, rest)}
    # maybe one run's doing: each of the rest gets its own chance
    return [done.get(job.number) or _alone(job, failure) for job in task.jobs]


def _tried(task: FitTask) -> tuple[dict[int, Outcome], BaseException | None]:
    """Train jobs together; return how they ended, by number, and what ended all that did not."""
    done: dict[int, Outcome] = {}
    try:
        with _board(task) as tick, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that an operation has no rule for runs
            _together(
                task, tick,
                lambda o: done.update({o.number: replace(o, after=task.after)}),
            )  # fmt: skip
    except WriteError:
        raise
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        if received() is not None:
            raise
        return done, error
    return done, None


def _in_parts(task: FitTask, jobs: tuple[Planned, ...]) -> list[Outcome]:
    """Train jobs in two smaller stacks: together they do not fit in memory."""
    gc.collect()
    outcomes: list[Outcome] = []
    half = -(-len(jobs) // 2)
    for part in (jobs[:half], jobs[half:]):
        outcomes += run_task(replace(task, jobs=part))
    whole = len(task.jobs)
    for job in jobs:
        _note(
            job.directory, f"trained in a smaller stack, since {whole} runs did not fit in memory"
        )
    return [replace(outcome, parted=whole) for outcome in outcomes]


def warm_up(data: Sequence[Mapping[str, Any]]) -> None:
    """Import what stacks need and prepare their data: in a worker, while jobs are being checked."""
    import torch

    import descent.sweep.preload  # noqa: F401

    torch.set_num_threads(1)
    for config in data:
        prepared(config)


def split_task(task: FitTask) -> list[FitTask]:
    """Return a task's jobs one by one."""
    return [replace(task, jobs=(job,), after=DIED) for job in task.jobs]


def _together(task: FitTask, tick: Callable[[int], None], done: Callable[[Outcome], None]) -> None:
    """Train jobs in one fit; tell each outcome when it is known."""
    from descent.training import train_together

    jobs: Sequence[Planned] = task.jobs
    if task.stack is None:
        jobs, refused = _cleared(jobs)
        for outcome in refused:
            done(outcome)
    if not jobs:
        return
    data = replace(prepared(jobs[0].config["data"]))  # tensors are made of it, and it is let go
    resumed = task.stack is not None
    for job in jobs if resumed else ():
        clear_parts(job.directory)
    runs = [Job(job.config, data, Run(job.directory), resumed, job.overrides, True) for job in jobs]

    def ended(number: int, result: dict[str, Any]) -> None:
        job = jobs[number]
        if job.config["picture"] is True and result["step"]:
            from descent.report.curves import draw_run

            draw_run(job.directory, result)
        _note(job.directory, line_of(result, job.directory.name))
        done(_outcome(job, result))

    train_together(runs, tick, ended, task.stack or _name(jobs))


def _name(jobs: Sequence[Planned]) -> str:
    """Return a name of jobs that train together, the same for no others of a multirun."""
    return f"{jobs[0].number}-{jobs[-1].number}-{len(jobs)}"


def size_of(stack: str) -> int:
    """Return how many jobs a stack had, by its name."""
    count = stack.rpartition("-")[2]
    return int(count) if count.isdigit() else 0


def _cleared(jobs: Sequence[Planned]) -> tuple[list[Planned], list[Outcome]]:
    """Make room for the jobs; return those that have some, and how the others ended."""
    begun, refused = [], []
    for job in jobs:
        try:
            _clear(job.directory)
        except UserError as error:
            if isinstance(error, WriteError) and error.code in FATAL:
                raise
            refused.append(failed(job, str(error)))
        else:
            begun.append(job)
    return begun, refused


def failed(job: Planned, sentence: str) -> Outcome:
    """Return how a job ended that could not be trained."""
    return Outcome(job.number, Status.FAILED, sentence, None, job.directory)


def _alone(job: Planned, failure: BaseException | None = None) -> Outcome:
    """Train a job as `src/train.py` would, without its own terminal output.

    Args:
        job: which.
        failure: of the stack that it was to be part of, for its log.
    """
    from descent.training import train

    _, refused = _cleared([job])
    if refused:
        return refused[0]
    make_directory(job.directory)
    alone = Job(
        job.config, replace(prepared(job.config["data"])), Run(job.directory), False,
        job.overrides, True,
    )  # fmt: skip
    fallen = None
    if failure is not None:
        fallen = f"{type(failure).__name__}: {first_line(failure)}"
        _note(job.directory, f"trained by itself, since its stack failed: {fallen}", failure)
    try:
        with _log_file(job.directory / LOG):
            train(alone)
    except WriteError:
        raise  # the disk is full for all jobs
    except UserError as error:
        return replace(failed(job, str(error)), after=fallen)
    except (SystemExit, KeyboardInterrupt) as error:
        signalled = received()
        if signalled is not None:
            raise signalled from None
        ending = Ending(Reason.EXIT, {"error": f"{type(error).__name__}({error})"})
        return replace(failed(job, ending.sentence), after=fallen)
    except Exception as error:
        return replace(failed(job, f"{type(error).__name__}: {error}"), after=fallen)
    return replace(_outcome(job, alone.run.result()), after=fallen)


def mark_ended(job: Planned, ending: Ending) -> None:
    """Say in the result of a job why it ended, where its own process could not."""
    run = Run(job.directory)
    with suppress(UserError):
        begun = run.result()
        if begun["status"] == Status.RUNNING:
            unknown = RunFigures(0, 0, None, 0.0, {}, {}, None)
            run.write_result(after(begun, ending, unknown))


def _outcome(job: Planned, result: dict[str, Any]) -> Outcome:
    metric = optimized(result, job.config["optimized_metric"])
    return Outcome(
        job.number, Status(result["status"]), str(result["reason"]), metric, job.directory
    )


def _clear(directory: Path) -> None:
    """Make room for a job where an earlier attempt was cut short.

    Raises:
        UserError: a link, a file, a finished run or something of others is there; it stays.
    """
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        what = "a link" if directory.is_symlink() else "a file"
        raise UserError(f"{directory} is {what}, not the job's directory; move it away.")
    if directory.is_dir():
        try:
            finished = Run(directory).result()["status"] in FINAL
        except UserError:
            finished = False
        if finished:
            raise UserError(f"{directory} holds a finished run, which would be lost.")
        clear(directory, FILES)


def _note(directory: Path, message: str, error: BaseException | None = None) -> None:
    """Add one line, and a traceback, to a job's own log."""
    trace = None if error is None else (type(error), error, error.__traceback__)
    level = logging.INFO if error is None else logging.WARNING
    record = logging.LogRecord(__name__, level, __file__, 0, message, None, trace)
    with appending(directory / LOG) as file:
        file.write(f"{LOG_FORMAT.format(record)}\n")


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """Keep a job's own log beside its other files."""
    handler = LogFile(path, delay=True)
    handler.setFormatter(LOG_FORMAT)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(min(level, logging.INFO))
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()


def _open_board(task: FitTask) -> tuple[np.ndarray, int]:
    """Return the board [tasks, 2] and the task's row of it."""
    path, row = task.board or (None, 0)
    try:
        if path is not None:
            return np.memmap(path, dtype=np.float64, mode="r+").reshape(-1, 2), row
    except (OSError, ValueError):  # a worker on another machine
        pass
    return np.zeros((1, 2)), 0


def _note_began(task: FitTask) -> None:
    board, row = _open_board(task)
    board[row] = 0.0, time.monotonic()


@contextmanager
def _board(task: FitTask) -> Iterator[Callable[[int], None]]:
    """Give what notes run-steps on the board, a few times a second and at the end."""
    board, row = _open_board(task)
    total, noted = 0.0, 0.0

    def tick(steps: int) -> None:
        nonlocal total, noted
        total += steps
        if time.monotonic() - noted >= TICK_SECONDS:
            board[row, STEPS], noted = total, time.monotonic()

    try:
        yield tick
    finally:
        board[row, STEPS] = total
