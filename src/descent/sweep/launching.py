"""A multirun from its jobs to their outcomes: checked, grouped, stacked, trained, listed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import nn

from descent.config.overruled import Overruled, of_training
from descent.data.prepare import Description
from descent.engine.blueprint import build_model, build_optimizer, build_schedule, try_out
from descent.engine.grouping import footprint, in_turn, most_that_fit, stack_size
from descent.engine.proof import why_unproven
from descent.errors import ForeignError, UserError, WriteError, counted
from descent.files.atomic import clear_parts
from descent.files.bounded import DamageError
from descent.files.claims import RESERVE, give_room, reserve
from descent.records.endings import Ending, Reason, Status
from descent.records.multirun import JOBS, REPEATS, listed_jobs, write_jobs
from descent.records.run import damaged
from descent.signals import Interrupted
from descent.sweep.composing import Composed
from descent.sweep.executors import Engine
from descent.sweep.placing import where
from descent.sweep.planning import (
    Group,
    Planned,
    Stand,
    caught_up,
    is_begun,
    plan,
    stand,
    telling,
)
from descent.sweep.sources import START, of_others, prepared
from descent.sweep.status import StatusLine
from descent.sweep.tasks import (
    FitTask,
    Outcome,
    failed,
    mark_ended,
    run_task,
    size_of,
    split_task,
    warm_up,
)
from descent.sweep.workers import Died, Workers, connect, run_tasks


def note_jobs(sweep: Path, jobs: Sequence[Planned], outcomes: Iterable[Outcome]) -> None:
    """Add jobs to the list, or renew their entries.

    Raises:
        UserError: the list that is there is damaged, and would be lost.
    """
    try:
        known = {}
        for entry, damage in listed_jobs(sweep):
            if damage is not None:
                raise damage
            known[entry["number"]] = entry
    except FileNotFoundError:
        known = {}
    except DamageError as error:
        raise damaged(sweep / JOBS, error) from None
    ended = {outcome.number: outcome for outcome in outcomes}
    for job in jobs:
        outcome = ended.get(job.number)
        known[job.number] = {
            "number": job.number,
            "overrides": [o for o in job.overrides if o != REPEATS],
            "directory": str(job.directory.relative_to(sweep)),
            "status": None if outcome is None else str(outcome.status),
            "reason": "" if outcome is None else outcome.sentence,
        }
    write_jobs(sweep, [known[number] for number in sorted(known)])


# What things take on one core, in seconds; only to choose between this process and workers.
WORKER_START = 3.0
PER_JOB, PER_JOB_ALONE = 0.006, 0.3
PER_RUN_STEP, PER_STEP_ALONE, PER_MULTIPLY = 3e-6, 1.5e-4, 1.2e-10
PROOF_SECONDS, WAIT = 120.0, 60.0  # for a model to be tried out; for a worker to start
ROOM = 1200  # bytes of jobs.json and results.csv that a job takes


@dataclass(frozen=True)
class LaunchOptions:
    """How a multirun is trained.

    Args:
        workers: where.
        stack: runs to a stack, or `auto`.
        on_failure: `continue` or `stop`.
        job_seconds: that a job may take at most; None for any time.
    """

    workers: Workers = Workers()  # noqa: RUF009 - frozen
    stack: int | str = "auto"
    on_failure: str = "continue"
    job_seconds: float | None = None


def launch(composed: Sequence[Composed], sweep: Path, options: LaunchOptions) -> list[Outcome]:
    """Train the jobs of a multirun; return how each ended, in their order.

    Raises:
        UserError: a job cannot be trained, a stack does not fit, or a cluster does not answer;
            then nothing was trained.
    """
    if not composed:
        raise UserError("The multirun has no jobs; give at least one value for each swept option.")
    planned = plan(composed, sweep, options.job_seconds)
    groups, finished = planned.groups, planned.finished
    for job in finished:  # what a power cut may have left beside a result
        clear_parts(job.directory)
    guess = sum(map(_group_seconds, groups))
    several = options.workers.count is not None or guess > WORKER_START
    there = options.workers.engine != "loky" or (several and sum(len(g.jobs) for g in groups) > 1)
    # code of others may end the process that it runs in, and only another process can be ended
    there |= options.job_seconds is not None or any(_runs_others(g) for g in groups)
    outcomes = {job.number: _finished(job) for job in finished}
    outcomes |= {job.number: failed(job, sentence) for job, sentence in planned.lost}
    with connect(options.workers) if there and groups else nullcontext() as engine:
        if engine is not None:
            data = {repr(group.jobs[0].config["data"]): group for group in groups}
            engine.warm(warm_up, [group.jobs[0].config["data"] for group in data.values()])
        with _trying(engine, options.workers) as apart:
            groups = [_checked(group, apart, options.job_seconds) for group in groups]
        tasks, lines = _tasks(groups, options)
        lost = [job for job, _ in planned.lost]
        jobs = [*finished, *lost, *(job for group in groups for job in group.jobs)]
        note_jobs(sweep, jobs, outcomes.values())
        reserve(sweep, RESERVE + ROOM * len(jobs))
        elsewhere = _elsewhere(groups, composed, sweep)
        for line in [*_decided(groups), *_resumed(finished, composed), *elsewhere, *lines]:
            print(line, flush=True)
        try:
            _train(tasks, sweep, options, outcomes, here=engine is None)
        except BaseException as error:
            give_room(sweep)
            for job in jobs:
                if job.number not in outcomes:
                    mark_ended(job, _reason(error))
            with suppress(WriteError):
                note_jobs(sweep, jobs, outcomes.values())
            raise
        else:
            note_jobs(sweep, jobs, outcomes.values())
        finally:
            for line in _fallen_back(outcomes.values()):
                print(line, flush=True)
    return [
        outcomes.get(job.number)
        or Outcome(job.number, Status.FAILED, "not begun: an earlier job failed", None, Path())
        for job in composed
    ]


def _train(
    tasks: Sequence[FitTask],
    sweep: Path,
    options: LaunchOptions,
    outcomes: dict[int, Outcome],
    here: bool,
) -> None:
    """Train the jobs of all tasks, or those before the first failure; add how each ended."""
    steps = sum(_steps(job) for task in tasks for job in task.jobs)
    with StatusLine(sweep, tasks, steps, outcomes) as progress:
        tasks = [replace(t, board=progress.place(i)) for i, t in enumerate(tasks)]
        limit = Limit(options.job_seconds, progress)
        for outcome in _trained(tasks, options.workers, limit, here):
            outcomes[outcome.number] = outcome
            progress.note(outcome)
            if outcome.status is Status.FAILED and options.on_failure == "stop":
                break


def _decided(groups: Sequence[Group]) -> list[str]:
    """Return what was decided about each source of some jobs, as its first split has it.

    And which options have no effect, each by the first job in which it has none.
    """
    nodes = [group.jobs[0].config["data"] for group in reversed(groups)]
    firsts = {repr(node["source"]): node for node in nodes}
    notes = [note for node in reversed(firsts.values()) for note in prepared(node).notes]
    overruled: dict[Overruled, str] = {}
    for job in (job for group in groups for job in group.jobs):
        classes = prepared(job.config["data"]).arrays.task.is_classification
        overruled = of_training(job.config, job.overrides, classes, many=True) | overruled
    told = [f"note      {words}" for words in overruled.values()]
    return [*(f"data      {note}" for note in dict.fromkeys(notes)), *told]


def _reason(error: BaseException) -> Ending:
    """Return why jobs that were underway ended, as a sweep ended by an exception."""
    if isinstance(error, Interrupted):
        return Ending(Reason.SIGNAL, {"signal": error.name, "step": 0})
    if isinstance(error, WriteError):
        return Ending(Reason.DISK, {"error": str(error).rstrip(".")})
    return Ending(Reason.EXCEPTION, {"error": f"{type(error).__name__}: {error}"})


class Limit:
    """The time that jobs may take, of tasks in other processes.

    A stack may take as long as its jobs together, but must take steps all the while.

    Args:
        seconds: a job's; None for any time.
        progress: where workers note what they do.
    """

    def __init__(self, seconds: float | None, progress: StatusLine) -> None:
        self.seconds, self._progress = seconds, progress
        self._moved: dict[int, tuple[float, float]] = {}  # by row: steps, and since when

    def overdue(self, task: FitTask, since: float) -> str | None:
        """Return a sentence if a task takes too long that was handed over at a time."""
        if self.seconds is None:
            return None
        now, row = time.monotonic(), task.board[1] if task.board else None
        steps, began = (0.0, since) if row is None else self._progress.noted(row)
        if began < since:  # its worker has not begun, and imports torch
            began = since + WAIT
        if now - began <= self.seconds:
            return None
        if task.together and len(task.jobs) > 1 and row is not None:
            known = self._moved.get(row)
            if known is None or known[0] != steps:
                self._moved[row] = known = (steps, now)
            if now - known[1] <= self.seconds and now - began <= self.seconds * len(task.jobs):
                return None
        return Ending(Reason.TIME, {"seconds": self.seconds}).sentence


@contextmanager
def _trying(engine: Engine | None, workers: Workers) -> Iterator[Engine | None]:
    """Give where models of others are tried out: a queue may be long, so SLURM is not asked."""
    if engine is None or workers.engine != "slurm":
        yield engine
        return
    with connect(Workers(count=1)) as here:
        yield here


def _runs_others(group: Group) -> bool:
    return of_others(group.jobs[0].config)


def _trained(
    tasks: Sequence[FitTask], workers: Workers, limit: Limit, here: bool
) -> Iterator[Outcome]:
    if here:
        for task in tasks:
            yield from run_task(task)
        return
    overdue = None if limit.seconds is None else limit.overdue
    for result in run_tasks(tasks, run_task, split_task, workers, overdue):
        if isinstance(result, Died):
            for job in result.task.jobs:
                mark_ended(job, Ending(Reason.GIVEN_UP, {"error": result.sentence}))
                yield Outcome(job.number, Status.FAILED, result.sentence, None, job.directory)
        else:
            yield from result


def _checked(group: Group, engine: Engine | None, seconds: float | None) -> Group:
    """Try out what the jobs of a group are made of; say alone where their model does not stack."""
    turn = None
    try:
        apart = engine is not None and _runs_others(group)
        why, turn = _apart(engine, group, seconds) if apart and engine else _examined(group)
    except ForeignError as error:  # of the user's own code; it is for that job to fail
        why = f"the model of job {group.jobs[0].number} raises {type(error.__cause__).__name__}"
    except (UserError, Interrupted):
        raise
    except BaseException as error:
        why = f"the model of job {group.jobs[0].number} raises {type(error).__name__}"
    return Group(group.jobs, why, turn)


Whys = tuple[str | None, str | None]


def _examined(group: Group) -> Whys:
    """Return why a group's jobs train alone, and why they take their steps in turn; None if not.

    Raises:
        UserError: a job cannot be trained.
    """
    first = group.jobs[0].config
    data = prepared(first["data"]).description
    tried: set[str] = set()
    models: dict[str, nn.Module | None] = {}
    for job in group.jobs:
        config = job.config
        recipe = repr([config[key] for key in ("optimizer", "scheduler", "stop", "model")])
        if recipe in tried:
            continue
        tried.add(recipe)
        node = repr(config["model"])
        with telling(job):
            if node not in models:
                models[node] = _model_of(config, data)
            model = models[node]
            if model is not None:
                # numbers are checked where an optimizer is made; all else by steps
                kind = repr([node, _without_numbers(config["optimizer"])])
                steps = 0 if kind in tried else 2
                try_out(build_optimizer(config), build_schedule(config, data), model, steps)
                tried.add(kind)
    if group.alone is not None:
        return group.alone, None
    with telling(group.jobs[0]):
        model = models[repr(first["model"])]
        turn = in_turn(first, build_model(first, data) if model is None else model)
        if turn is not None:
            return None, turn
        return why_unproven([job.config for job in group.jobs], prepared(first["data"])), None


def _apart(engine: Engine, group: Group, seconds: float | None) -> Whys:
    """Examine jobs in a process of its own: code of others may end the one it is tried in."""
    future = engine.submit(_examined, group)
    try:
        whys: Whys = future.result(PROOF_SECONDS if seconds is None else seconds + START)
    except engine.deaths:
        return "it ended the process in which it was tried out", None
    except TimeoutError:
        engine.stop([future])
        return "to try it out took too long", None
    return whys


def _without_numbers(node: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in node.items() if isinstance(v, bool) or not isinstance(v, (int, float))}


def _model_of(config: Mapping[str, Any], data: Description) -> nn.Module | None:
    """Return a job's model; None where the user's own code fails, which is for that job to do."""
    try:
        return build_model(config, data)
    except ForeignError:
        return None
    except UserError:
        raise
    except Exception:
        return None


def _tasks(groups: Sequence[Group], options: LaunchOptions) -> tuple[list[FitTask], list[str]]:
    """Cut groups into what a worker takes at a time; say what was done with each."""
    tasks, lines = [], []
    cores = _cores(options.workers)
    for number, group in enumerate(groups, start=1):
        count = len(group.jobs)
        runs = counted(count, "run")
        if group.alone is not None:
            tasks += [FitTask((job,), False) for job in group.jobs]
            lines.append(f"group {number}: {runs} alone, one by one: {group.alone}")
            continue
        first = group.jobs[0].config
        data = prepared(first["data"])
        model = build_model(first, data.description)
        one = footprint(first, model, data)
        device, why = where(group, model, options.stack, one, cores)
        if why is not None:
            lines.append(f"group {number}: on {device.type}, {why}")
        most = most_that_fit(one, device, cores)
        going, remarks, group = _going_on(group, most)
        tasks += going
        going_on = sum(len(task.jobs) for task in going if task.stack is not None)
        if going_on:
            words = f"{going_on:,} of {runs} go on from their checkpoints{''.join(remarks)}"
            lines.append(f"group {number}: {words}")
        if not group.jobs:
            continue
        count = len(group.jobs)
        runs = counted(count, "run")
        size = stack_size(options.stack, one, device, cores)
        stacks = -(-count // size)
        if options.stack == "auto" and _group_seconds(group) > WORKER_START:
            stacks = min(count, -(-stacks // cores) * cores)  # so that all workers end together
        # neighbours of one seed share their batches
        jobs = sorted(group.jobs, key=lambda job: (job.config["seed"], job.number))
        ends = [count * (i + 1) // stacks for i in range(stacks)]
        pieces = [tuple(jobs[a:b]) for a, b in pairwise([0, *ends])]
        tasks += [FitTask(part, True, group.turn is not None) for part in pieces]
        parameters, most = sum(p.numel() for p in model.parameters()), max(map(len, pieces))
        lines.append(
            f"group {number}: {runs} in {len(pieces)} {'stack' if group.turn is None else 'loop'}"
            f"{'' if len(pieces) == 1 else 's'} of "
            f"{'up to ' if len(pieces) > 1 else ''}{most:,}: {type(model).__name__}, "
            f"{counted(parameters, 'parameter')}, {_named(first)}"
            f"{'' if group.turn is None else f'; in turn, since {group.turn}'}"
        )
    return sorted(tasks, key=_task_seconds, reverse=True), lines


def _going_on(group: Group, most: int) -> tuple[list[FitTask], list[str], Group]:
    """Return tasks of jobs that a killed attempt had saved, and the group of the others.

    Between them: remarks on what is not as it was in that attempt. Where it was killed between two
    checkpoints of a stack, and its jobs cannot all go on from one of them, they begin anew,
    together, for a part of a stack has not the bits of the whole.

    Args:
        group: of jobs.
        most: runs that fit in memory together, which may be less than it was.
    """
    by_stack: dict[str, dict[Stand, list[Planned]]] = {}
    rest: list[Planned] = []
    for job in group.jobs:
        found = stand(job)
        if found is None:
            rest.append(job)
        else:
            by_stack.setdefault(found.stack, {}).setdefault(found, []).append(job)
    begun = sum(is_begun(job) for job in rest)
    tasks, whole, left = [], 0, 0
    for stack, kept in by_stack.items():
        stands = _abreast(kept)
        jobs = [job for part in stands.values() for job in part]
        if len(jobs) < size_of(stack) <= len(jobs) + begun:
            rest += jobs
            continue
        jobs.sort(key=lambda job: (job.config["seed"], job.number))
        goes_on = stack if len(stands) == 1 else None
        if goes_on is not None:
            left += max(0, next(iter(stands)).abreast - len(jobs))
        parts = [tuple(jobs[i : i + most]) for i in range(0, len(jobs), most)]
        tasks += [FitTask(part, True, group.turn is not None, stack=goes_on) for part in parts]
        whole += 1
    rest.sort(key=lambda job: job.number)
    remarks = []
    if len(tasks) > whole:
        remarks.append(f", {most:,} at a time, which is what fits in memory")
    if left:
        have = "has" if left == 1 else "have"
        remarks.append(f"; {left:,} beside them {have} ended since, so last digits may differ")
    return tasks, remarks, replace(group, jobs=rest)


def _abreast(by_stand: Mapping[Stand, list[Planned]]) -> dict[Stand, list[Planned]]:
    """Let the jobs of a stack go on from where the furthest of them were saved."""
    found: dict[Stand, list[Planned]] = {}
    ahead = max(by_stand, key=lambda stand: stand.step)
    for at, jobs in by_stand.items():
        for job in jobs:
            there = ahead if at == ahead or caught_up(job, ahead) else at
            found.setdefault(there, []).append(job)
    return found


def _named(config: dict[str, Any]) -> str:
    optimizer = str(config["optimizer"]["_target_"]).rsplit(".", 1)[-1]
    return f"{optimizer}, batches of {config['data']['batch_size']}"


def _cores(workers: Workers) -> int:
    import joblib

    return workers.count or joblib.cpu_count()


def _steps(job: Planned) -> int:
    """Return how many steps a run will take, at most."""
    config, data = job.config, prepared(job.config["data"])
    per_epoch = -(-len(data.rows["train"]) // data.batch_size)
    epochs, steps = config["stop"]["epochs"], config["stop"]["steps"]
    return min(n for n in (steps, epochs and epochs * per_epoch) if n)


def _task_seconds(task: FitTask) -> float:
    """Guess what a task takes on one core."""
    first = task.jobs[0].config
    steps = _steps(task.jobs[0]) * len(task.jobs)
    if not task.together or task.in_turn:
        return PER_JOB_ALONE * len(task.jobs) + steps * PER_STEP_ALONE
    data = prepared(first["data"])
    hidden = [*first["model"].get("hidden", []), data.arrays.outputs]
    sizes = [data.arrays.features.shape[1], *hidden]
    multiplies = sum(a * b for a, b in pairwise(sizes)) * data.batch_size
    return PER_JOB * len(task.jobs) + steps * (PER_RUN_STEP + 3 * multiplies * PER_MULTIPLY)


def _group_seconds(group: Group) -> float:
    return _task_seconds(FitTask(tuple(group.jobs), group.alone is None, group.turn is not None))


def _finished(job: Planned) -> Outcome:
    from descent.records.result import optimized
    from descent.records.run import Run

    result = Run(job.directory).result()
    metric = optimized(result, job.config["optimized_metric"])
    return Outcome(
        job.number, Status(result["status"]), str(result["reason"]), metric, job.directory
    )


def _fallen_back(outcomes: Iterable[Outcome]) -> list[str]:
    """Return a line for each cause by which runs were not trained in the stacks that were told."""
    outcomes = list(outcomes)
    causes = Counter(outcome.after for outcome in outcomes if outcome.after is not None)
    parted = Counter(outcome.parted for outcome in outcomes if outcome.parted is not None)
    return [
        *(
            f"{counted(count, 'run')} trained in smaller stacks: {size:,} together did not fit in "
            "memory; hydra.launcher.stack says how many to try"
            for size, count in parted.items()
        ),
        *(
            f"{counted(count, 'run')} trained one by one: their stack did not hold "
            f"({cause}); see train.log in their directories"
            for cause, count in causes.items()
        ),
    ]


def _resumed(finished: Sequence[Planned], composed: Sequence[Composed]) -> list[str]:
    if not finished:
        return []
    return [f"{len(finished):,} of {len(composed):,} jobs are finished already"]


def _elsewhere(groups: Sequence[Group], composed: Sequence[Composed], sweep: Path) -> list[str]:
    """Return a line on jobs whose own directories hold finished runs of other configs."""
    own = {job.number: sweep / job.directory for job in composed}
    jobs = sorted((job for group in groups for job in group.jobs), key=lambda job: job.number)
    moved = [job for job in jobs if job.directory != own[job.number]]
    if not moved:
        return []
    held = own[moved[0].number]
    rest = "" if len(moved) == 1 else f", and so for {counted(len(moved) - 1, 'more job')}"
    return [
        f"{held} holds a finished run of another config, so job {moved[0].number} goes to "
        f"{moved[0].directory}{rest}"
    ]
