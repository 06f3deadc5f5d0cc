"""What runs a task in another process: loky on this machine, dask or ray on a cluster.

An engine takes one task and gives back its future; which task goes when is decided in `workers`.
joblib.Parallel would do both, but not survive a worker's death: its loky pool breaks as a whole
and loses finished results, its dask backend waits for ever for a task whose worker died, and its
ray backend yields nothing before everything is done (joblib 1.6, distributed 2026.8, ray 2.60).
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
import warnings
from collections.abc import Callable, Collection
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any, Protocol
from urllib.parse import urlsplit

from descent.config.spelling import install
from descent.errors import UserError, first_line
from descent.signals import deaf, end_with_parent
from descent.sweep import forkserver as forking

# Read when a worker imports torch, numpy or polars. Ray and dask's nanny set the first themselves.
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "POLARS_MAX_THREADS",
    ),
    "1",
)
# a worker that dies is told of in a sentence: loky need not print its stack
VARIABLES = {**ONE_THREAD, "PYTHONFAULTHANDLER": os.environ.get("PYTHONFAULTHANDLER", "")}

Errors = tuple[type[BaseException], ...]


class Engine(Protocol):
    """Runs tasks in worker processes, one at a time in each."""

    deaths: Errors  # what the future of a task raises whose worker died
    lost: Errors  # and what it raises when the whole cluster is gone

    def room(self) -> int:
        """Return how many tasks may be underway at once."""

    def warm(self, work: Callable[[Any], Any], task: Any) -> None:
        """Let every worker that this engine starts itself run ``work(task)`` once, first."""

    def submit(self, work: Callable[[Any], Any], task: Any) -> Future[Any]:
        """Run ``work(task)`` in a worker."""

    def stop(self, futures: Collection[Future[Any]]) -> None:
        """Give up what is underway."""

    def close(self) -> None:
        """Stop the workers, or leave the cluster."""


class Loky:
    """Processes on this machine, each an executor of its own: a death breaks no other.

    Args:
        count: how many; None for one per core that this process may use.
    """

    def __init__(self, count: int | None) -> None:
        from joblib import cpu_count
        from joblib.externals.loky import BrokenProcessPool, ProcessPoolExecutor
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        # with psutil, loky renews a process that has grown much: to us that is no news
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
        self.deaths: Errors = (TerminatedWorkerError,)
        self.lost: Errors = ()
        self._broken = BrokenProcessPool
        self._pool = partial(
            ProcessPoolExecutor, max_workers=1, initializer=end_with_parent, initargs=(os.getpid(),)
        )
        self._count = count or cpu_count()
        self._idle: list[Any] = []
        self._busy: dict[Future[Any], Any] = {}

    def room(self) -> int:
        """Return the number of processes."""
        return self._count

    def warm(self, work: Callable[[Any], Any], task: Any) -> None:
        """Start all processes; what they are given next waits until this is done."""
        for _ in range(self._count):
            pool, _ = self._begin(work, task)
            self._idle.append(pool)

    def submit(self, work: Callable[[Any], Any], task: Any) -> Future[Any]:
        """Run the task in an idle process, or in a new one."""
        for done in [future for future in self._busy if future.done()]:
            self._idle.append(self._busy.pop(done))
        while self._idle:
            pool = self._idle.pop()
            with suppress(self._broken):  # its process died while it was idle: take another
                future: Future[Any] = pool.submit(work, task)
                self._busy[future] = pool
                return future
        pool, future = self._begin(work, task)
        self._busy[future] = pool
        return future

    def _begin(self, work: Callable[[Any], Any], task: Any) -> tuple[Any, Future[Any]]:
        """Start a process with a first task."""
        if forking.died():
            _tell_that_the_server_died()
        forked = forking.context()
        pool = self._pool(**({"env": VARIABLES} if forked is None else {"context": forked}))
        try:
            with deaf():
                return pool, pool.submit(work, task)
        except (EOFError, OSError):
            if forked is None:
                raise
        _tell_that_the_server_died()
        return self._begin(work, task)

    def stop(self, futures: Collection[Future[Any]]) -> None:
        """Kill the processes at work."""
        for pool in [self._busy.pop(future, None) for future in futures]:
            if pool is not None:
                pool.shutdown(kill_workers=True)

    def close(self) -> None:
        """Kill all processes."""
        self.stop(list(self._busy))
        while self._idle:
            self._idle.pop().shutdown(kill_workers=True)


def _tell_that_the_server_died() -> None:
    print(
        "note: the process that workers are forked from died; from now on they start by "
        "themselves, which takes longer",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    forking.give_up()


class Dask:
    """A dask cluster.

    Args:
        count: worker processes of a local cluster.
        address: of a scheduler; None starts a local cluster.
        seconds: how long the scheduler and a first worker have to answer.

    Raises:
        UserError: distributed is not installed, the cluster does not answer or has no worker, or
            its workers run several tasks in one process.
    """

    def __init__(self, count: int | None, address: str | None, seconds: float) -> None:
        distributed = _library("distributed", extra="dask")
        self.deaths: Errors = (distributed.KilledWorker,)
        self.lost: Errors = (CancelledError,)
        self._cluster = None if address else self._start(count, distributed)
        where = address or self._cluster
        client = partial(distributed.Client, where, timeout=seconds, set_as_default=False)
        try:
            self._client = _within(2 * seconds, client)
        except (OSError, ValueError) as error:
            raise _unreachable("dask scheduler", address, error) from None
        try:
            self._check(address, seconds)
        except UserError:
            self.close()
            raise
        # pure: two equal tasks are two tasks; retries would repeat what raised
        self._executor = self._client.get_executor(pure=False, retries=0)

    @staticmethod
    def _start(count: int | None, distributed: Any) -> Any:
        import logging

        from joblib import cpu_count

        dask = importlib.import_module("dask")
        # `workers` says what becomes of a task whose worker died; by default dask tries it on
        # three more, and blames what waited beside it each time
        with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
            return distributed.LocalCluster(
                n_workers=count or cpu_count(),
                threads_per_worker=1,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            )

    def _check(self, address: str | None, seconds: float) -> None:
        try:
            self._client.wait_for_workers(1, timeout=seconds)
        except TimeoutError as error:
            raise UserError(
                f"The dask scheduler at {address} has no workers; start some with "
                f"`dask worker {address} --nworkers auto --nthreads 1`."
            ) from error
        if max(self._client.nthreads().values()) > 1:
            raise UserError(
                f"The dask workers at {address} run several tasks in one process, which would "
                f"share its random numbers; start them with `dask worker {address} "
                "--nworkers auto --nthreads 1`."
            )

    def room(self) -> int:
        """Return the number of workers: one that waits behind another shares its worker's death."""
        return max(1, len(self._client.nthreads()))

    def warm(self, work: Callable[[Any], Any], task: Any) -> None:
        """Do nothing: the cluster's workers are as they are."""

    def submit(self, work: Callable[[Any], Any], task: Any) -> Future[Any]:
        """Hand the task to the scheduler."""
        future: Future[Any] = self._executor.submit(work, task)
        return future

    def stop(self, futures: Collection[Future[Any]]) -> None:
        """Cancel the tasks; a worker of a cluster not ours ends what it is in the midst of."""
        for future in futures:
            future.cancel()

    def close(self) -> None:
        """Leave the cluster, and stop it if it is ours."""
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()


class Ray:
    """A ray cluster.

    Args:
        count: worker processes of a local cluster.
        address: of a head ('auto', 'host:port', 'ray://host:port'); None starts a local cluster.
        seconds: how long the head has to answer.

    Raises:
        UserError: ray is not installed, or the cluster does not answer.
    """

    def __init__(self, count: int | None, address: str | None, seconds: float) -> None:
        from joblib import cpu_count

        self._ray = ray = _library("ray", extra="ray")
        errors = ray.exceptions
        self.deaths: Errors = (
            errors.WorkerCrashedError,
            errors.OutOfMemoryError,
            errors.NodeDiedError,
        )
        self.lost: Errors = (errors.LocalRayletDiedError,)
        try:
            if address:
                _knock(address, seconds)  # ray itself tries for minutes, and logs all the while
                _within(2 * seconds, partial(ray.init, address, logging_level="error"))
            else:  # not within a thread: what ray starts dies with the thread that started it
                ray.init(
                    "local", num_cpus=count or cpu_count(), include_dashboard=False,
                    logging_level="error",
                )  # fmt: skip
        except (OSError, ValueError, RuntimeError) as error:
            secret = ", or set RAY_AUTH_MODE=token if it asks for a token" if address else ""
            raise _unreachable("ray head", address, error, secret) from None
        # a node that leaves the cluster is no fault of its tasks: each gets a second worker
        self._call = ray.remote(num_cpus=1, max_retries=1 if address else 0)(_call)
        self._references: dict[Future[Any], Any] = {}

    def room(self) -> int:
        """Return twice the number of cores: what waits tells an autoscaler to add some."""
        return max(1, 2 * int(self._ray.cluster_resources().get("CPU", 0)))

    def warm(self, work: Callable[[Any], Any], task: Any) -> None:
        """Do nothing: the cluster's workers are as they are."""

    def submit(self, work: Callable[[Any], Any], task: Any) -> Future[Any]:
        """Hand the task to ray's scheduler."""
        reference = self._call.remote(work, task)
        future: Future[Any] = reference.future()
        self._references[future] = reference
        future.add_done_callback(lambda done: self._references.pop(done, None))
        return future

    def stop(self, futures: Collection[Future[Any]]) -> None:
        """Cancel the tasks and kill the processes that run them."""
        for future in futures:
            reference = self._references.pop(future, None)
            if reference is not None:
                self._ray.cancel(reference, force=True)

    def close(self) -> None:
        """Leave the cluster, and stop it if it is ours."""
        self._ray.shutdown()


def _call(work: Callable[[Any], Any], task: Any) -> Any:
    return work(task)


def _library(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f"Workers of engine '{extra}' need the package '{name}', which is not installed; "
            f"run {install(extra)}"
        ) from None


def _unreachable(what: str, address: str | None, error: Exception, more: str = "") -> UserError:
    where = f"at {address}" if address else "of this machine"
    first = first_line(error)[:160]
    return UserError(
        f"The {what} {where} does not answer: {first}; start it or check its address{more}."
    )


def _knock(address: str | None, seconds: float) -> None:
    """Raise an OSError unless something listens at the host and port of the address, if it has."""
    parts = urlsplit(address if address and "://" in address else f"//{address or ''}")
    if parts.hostname and parts.port:
        socket.create_connection((parts.hostname, parts.port), timeout=seconds).close()


def _within(seconds: float, function: Callable[[], Any]) -> Any:
    """Call a function that may wait for ever; TimeoutError (an OSError) if it takes longer."""
    future: Future[Any] = Future()

    def call() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=call, daemon=True).start()
    try:
        return future.result(seconds)
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"nothing came within {seconds:g} seconds") from None
