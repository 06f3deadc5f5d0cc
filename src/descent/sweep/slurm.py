"""SLURM, by submitit: the tasks of a sweep as array jobs.

Tasks that are handed over within a second go as one array, of no more tasks than the site allows.
The directory of the multirun must be one that the nodes see.
"""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from descent.config.spelling import install
from descent.errors import UserError, first_line
from descent.files.atomic import make_directory, remove_own

GATHER_SECONDS = 0.5  # in which tasks come together to one array
LOOK_SECONDS = 0.25  # between looks for results, which are files
ASK_SECONDS = 30.0  # between questions to SLURM, which of the jobs without a result still run
MOST = 1001  # of an array, where the site does not say otherwise: SLURM's own default
CLUSTERS = ("slurm", "local")


@dataclass
class _Waiting:
    """A task that is to go with the next array, and those who wait for it."""

    future: Future[Any]
    work: Callable[[Any], Any]
    task: Any
    job: Any = None


def _call(work: Callable[[Any], Any], task: Any) -> Any:
    return work(task)


def array_limit() -> int:
    """Return how many tasks an array of this site may have."""
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        told = subprocess.run(
            ["scontrol", "show", "config"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", told, re.M)
        if found:
            return max(1, int(found[1]))
    return MOST


class Slurm:
    """An engine of `executors.Engine`'s interface.

    Args:
        count: array tasks that may run at once; None for submitit's 256.
        folder: where scripts, logs and results of the jobs lie.
        site: options of sbatch, by submitit's names, and `cluster`.
        variables: of the environment, for each job.

    Raises:
        UserError: submitit or SLURM is not there.
    """

    def __init__(
        self, count: int | None, folder: Path, site: Mapping[str, Any], variables: Mapping[str, str]
    ) -> None:
        try:
            submitit = importlib.import_module("submitit")
        except ImportError:
            raise UserError(
                f"Workers of engine 'slurm' need the package 'submitit', which is not installed; "
                f"run {install('slurm')}"
            ) from None
        options = {key: value for key, value in site.items() if value is not None}
        self._cluster = options.pop("cluster", "slurm")
        if self._cluster not in CLUSTERS:
            raise UserError(
                f"hydra.launcher.slurm.cluster={self._cluster} does not fit: it must be "
                f"{' or '.join(CLUSTERS)}."
            )
        if self._cluster == "slurm" and not (shutil.which("srun") and shutil.which("sbatch")):
            raise UserError(
                "engine=slurm needs SLURM's srun and sbatch, which are not found here; type the "
                "command on a login node, or hydra.launcher.slurm.cluster=local to try it here."
            )
        self.deaths: tuple[type[BaseException], ...] = (submitit.core.utils.UncompletedJobError,)
        self.lost: tuple[type[BaseException], ...] = ()
        self._folder, self._unfinished = folder, False
        make_directory(folder)
        self._executor = submitit.AutoExecutor(folder=str(folder), cluster=self._cluster)
        more = options.pop("extra", None) or {}
        setup = [f"export {name}={value}" for name, value in variables.items()]
        given = {
            "slurm_setup": setup, "slurm_array_parallelism": count or 256,
            "slurm_additional_parameters": dict(more), "name": "descent",
            "timeout_min": options.pop("minutes", 60), "cpus_per_task": 1,
            **{key if key in SHARED else f"slurm_{key}": value for key, value in options.items()},
        }  # fmt: skip
        self._executor.update_parameters(**given)
        self._limit = array_limit() if self._cluster == "slurm" else count or MOST
        self._lock = threading.Lock()
        self._handed: list[_Waiting] = []
        self._underway: list[_Waiting] = []
        self._since = 0.0
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def room(self) -> int:
        """Return how many tasks an array may have: that many may wait in the queue."""
        return self._limit

    def warm(self, work: Callable[[Any], Any], task: Any) -> None:
        """Do nothing: each job is a process of its own."""

    def submit(self, work: Callable[[Any], Any], task: Any) -> Future[Any]:
        """Let the task go with the next array."""
        waiting = _Waiting(Future(), work, task)
        with self._lock:
            self._handed.append(waiting)
            self._since = time.monotonic()
        return waiting.future

    def stop(self, futures: Collection[Future[Any]]) -> None:
        """Cancel jobs, and what was not handed over yet."""
        given_up = set(map(id, futures))
        with self._lock:
            self._handed = [w for w in self._handed if id(w.future) not in given_up]
            ended = [w for w in self._underway if id(w.future) in given_up]
            self._underway = [w for w in self._underway if id(w.future) not in given_up]
        for waiting in ended:
            self._unfinished = True
            with suppress(Exception):
                waiting.job.cancel(check=False)

    def close(self) -> None:
        """Cancel what is left; logs stay where a job ended without its result."""
        self.stop([w.future for w in (*self._handed, *self._underway)])
        self._closing.set()
        self._watcher.join(10)
        if not self._unfinished:
            remove_own(self._folder)

    # ---- in a thread of its own

    def _watch(self) -> None:
        asked = time.monotonic()
        while not self._closing.wait(LOOK_SECONDS):
            self._hand_over()
            ask = time.monotonic() - asked > ASK_SECONDS
            with self._lock:
                underway = list(self._underway)
            if ask:
                asked = time.monotonic()
            if ask and underway and self._cluster == "slurm":
                with suppress(Exception):  # SLURM is busy: it is asked again
                    underway[0].job.watcher.update()
            for waiting in underway:
                ended = waiting.job.paths.result_pickle.exists()
                if not ended and (ask or self._cluster == "local"):
                    ended = waiting.job.done()
                if ended:
                    self._settle(waiting)

    def _hand_over(self) -> None:
        """Submit what has come together, in arrays of the size that the site allows."""
        with self._lock:
            if not self._handed or time.monotonic() - self._since < GATHER_SECONDS:
                return
            part, self._handed = self._handed[: self._limit], self._handed[self._limit :]
        try:
            jobs = self._executor.map_array(_call, [w.work for w in part], [w.task for w in part])
        except Exception as error:
            self._refused(part, error)
            return
        for waiting, job in zip(part, jobs, strict=True):
            waiting.job = job
        with self._lock:
            self._underway += part

    def _refused(self, part: list[_Waiting], error: Exception) -> None:
        """Hand over again later what the site takes no more of now; fail if nothing is underway."""
        with self._lock:
            if self._underway:
                self._handed = part + self._handed
                self._since = time.monotonic() + ASK_SECONDS
                return
        told = UserError(f"SLURM does not take the jobs: {first_line(error)[:300]}.")
        for waiting in part:
            waiting.future.set_exception(told)

    def _settle(self, waiting: _Waiting) -> None:
        with self._lock:
            if waiting not in self._underway:
                return  # it was stopped
            self._underway.remove(waiting)
        with suppress(InvalidStateError):
            try:
                waiting.future.set_result(waiting.job.result())
            except BaseException as error:
                self._unfinished = True
                waiting.future.set_exception(error)


SHARED = ("timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node", "tasks_per_node")
