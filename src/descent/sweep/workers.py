"""Send the tasks of a sweep to worker processes and take their results as they come.

A worker runs one task at a time, with one thread. So a death (killed, segfault, out of memory)
is that of one known task: the others go on, and only what died is run again, in smaller parts.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from descent.errors import UserError, did_you_mean
from descent.records.endings import Ending, Reason
from descent.sweep.executors import ONE_THREAD, Dask, Engine, Loky, Ray
from descent.sweep.slurm import Slurm

T = TypeVar("T")
R = TypeVar("R")

ENGINES = ("loky", "dask", "ray", "slurm")
DEATH = Ending(Reason.DEATH).sentence
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Workers:
    """Where the tasks of a sweep run.

    Attributes:
        engine: `loky` (processes of this machine), `dask`, `ray` or `slurm`.
        count: worker processes on this machine; None for one per core. Of `slurm`, the jobs that
            may run at once.
        address: of a dask scheduler (`tcp://host:port`) or of a ray head (`auto`, `host:port`,
            `ray://host:port`), whose workers are used, whatever `count` says. None starts a
            cluster of `count` workers on this machine.
        folder: of `slurm`, where its scripts, logs and results lie.
        site: of `slurm`, options by name.
    """

    engine: str = "loky"
    count: int | None = None
    address: str | None = None
    folder: Path | None = None
    site: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Died:
    """What is left of a task whose worker died."""

    task: Any
    sentence: str = DEATH


# What `connect` holds open, for `run_tasks` to find: workers that have imported torch are kept.
_open: dict[Workers, Engine] = {}


@contextmanager
def connect(workers: Workers, seconds: float = 10.0) -> Iterator[Engine]:
    """Hold workers: every `run_tasks` inside the block uses the same ones.

    Args:
        workers: which.
        seconds: how long a cluster has to answer.

    Raises:
        UserError: the engine is unknown or not installed, or the cluster does not answer.
    """
    if workers in _open:
        yield _open[workers]
        return
    engine = _engine(workers, seconds)
    _open[workers] = engine
    try:
        yield engine
    finally:
        del _open[workers]
        engine.close()


def _engine(workers: Workers, seconds: float) -> Engine:
    if workers.engine not in ENGINES:
        hint = did_you_mean(workers.engine, ENGINES) or f"; choose from {', '.join(ENGINES)}."
        raise UserError(f"There is no engine '{workers.engine}' for workers{hint}")
    if workers.count is not None and workers.count < 1:
        raise UserError(f"The count of workers is {workers.count}; give 1 or more, or null.")
    if workers.engine == "dask":
        return Dask(workers.count, workers.address, seconds)
    if workers.engine == "ray":
        return Ray(workers.count, workers.address, seconds)
    if workers.address:
        raise UserError(
            f"Workers of engine '{workers.engine}' have no address ({workers.address}); choose "
            "dask or ray, or leave the address out."
        )
    if workers.engine == "slurm":
        return Slurm(workers.count, workers.folder or Path("slurm"), workers.site, ONE_THREAD)
    return Loky(workers.count)


def run_tasks(
    tasks: Sequence[T],
    work: Callable[[T], R],
    split: Callable[[T], Sequence[T]],
    workers: Workers,
    overdue: Callable[[T, float], str | None] | None = None,
) -> Iterator[R | Died]:
    """Yield results as they come, in any order: one for each task or for each part of it.

    A task whose worker died is run once more as it is, which gives what it would have given; if
    that one dies too, it is split and its parts are run. One that cannot be split is run once
    more at the end with nothing beside it, since memory may have been short for all together; if
    it dies again, or had nothing beside it before, `Died` is yielded. One that takes too long is
    ended and split at once; if it cannot be split, `Died` is yielded. What `work` raises comes
    through. When the iterator ends early, by that, by Ctrl-C or by being closed, the processes of
    tasks that are underway are killed; only a dask cluster that is not ours ends them first.

    Args:
        tasks: what `work` takes; must pickle, as must `work` and what it returns.
        work: runs in a worker.
        split: from a task to smaller ones that amount to it, or to itself alone.
        workers: where; held open by `connect`, or else only while this runs.
        overdue: asked now and then of a task that is underway, with the time of `time.monotonic`
            at which it was handed over; returns a sentence if it takes too long.

    Raises:
        UserError: see `connect`; or the cluster was lost.
    """
    with connect(workers) as engine:
        lonely: list[T] = []
        every = _Round(engine, work, split, deque(tasks), lonely, overdue)
        yield from every.results()
        last = _Round(engine, work, split, deque(lonely), [], overdue, at_once=1)
        yield from last.results()


@dataclass
class _Round(Generic[T, R]):
    """Runs tasks until none is owed; those that died in company are put into `lonely`."""

    engine: Engine
    work: Callable[[T], R]
    split: Callable[[T], Sequence[T]]
    owed: deque[T]
    lonely: list[T]
    overdue: Callable[[T, float], str | None] | None = None
    at_once: int | None = None
    underway: dict[Future[R], T] = field(default_factory=dict)
    since: dict[Future[R], float] = field(default_factory=dict)
    died: list[T] = field(default_factory=list)  # once
    in_company: set[Future[R]] = field(default_factory=set)

    def results(self) -> Iterator[R | Died]:
        try:
            self._start()
            while self.underway:
                patience = None if self.overdue is None else LOOK_SECONDS
                done, _ = wait(self.underway, patience, return_when=FIRST_COMPLETED)
                yield from self._end_overdue(done)
                for future in done:
                    outcome = self._settle(future)
                    self._start()  # before the caller takes its time with the result
                    yield from outcome
        finally:
            self.engine.stop(list(self.underway))

    def _end_overdue(self, done: Collection[Future[R]]) -> list[Died]:
        """End what takes too long; return what has no parts to be tried by themselves."""
        ended: list[Died] = []
        for future in [f for f in self.underway if f not in done and self.overdue is not None]:
            task = self.underway[future]
            sentence = self.overdue(task, self.since[future]) if self.overdue else None
            if sentence is None:
                continue
            self.engine.stop([future])
            del self.underway[future]
            self.in_company.discard(future)
            parts = self.split(task)
            if len(parts) > 1:
                self.owed.extendleft(reversed(parts))
            else:
                ended.append(Died(task, sentence))
        self._start()
        return ended

    def _start(self) -> None:
        """Fill up the workers."""
        if not self.owed:
            return
        room = self.at_once or self.engine.room()
        running = [future for future in self.underway if not future.done()]
        while self.owed and len(running) < room:
            future = self.engine.submit(self.work, self.owed[0])
            self.underway[future] = self.owed.popleft()
            self.since[future] = time.monotonic()
            running.append(future)
        if len(running) > 1:
            self.in_company.update(running)

    def _settle(self, future: Future[R]) -> list[R | Died]:
        """Return the result of a task, or none if it is to be run again."""
        task = self.underway.pop(future)
        alone = future not in self.in_company
        self.in_company.discard(future)  # it holds the result
        try:
            return [future.result()]
        except self.engine.deaths:
            parts = self.split(task)
        except self.engine.lost:
            raise UserError(
                "The cluster stopped answering while tasks were underway; see its log, and run "
                "what has no result again."
            ) from None
        if len(parts) > 1 and not any(task is other for other in self.died):
            self.died.append(task)  # what is trained together once more has the same bits
            self.owed.appendleft(task)
        elif len(parts) > 1:
            self.owed.extendleft(reversed(parts))
        elif alone:
            return [Died(task)]
        else:
            self.lonely.append(task)
        return []
