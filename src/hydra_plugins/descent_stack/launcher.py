"""`hydra/launcher=stack`: the jobs of a multirun trained together.

Imports little, since Hydra loads it whatever is typed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


@dataclass
class SlurmConf:
    """What each array job asks for; null = what the site gives.

    Args:
        minutes: it may take; `sweep_dir=` goes on with what was ended.
        partition: and the four below, as of sbatch.
        account: to be charged.
        qos: quality of service.
        constraint: of nodes.
        mem_gb: memory.
        gpus_per_node: of the job's one node.
        extra: further options of sbatch, by their long names: `{mail-user: me}`.
        cluster: `slurm`, or `local` to try the same on this machine without it.
    """

    minutes: int = 60
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    mem_gb: int | None = None
    gpus_per_node: int | None = None
    extra: Any = None
    cluster: str = "slurm"


@dataclass
class StackLauncherConf:
    """The launcher's options.

    Args:
        engine: `loky` (this machine), `dask`, `ray` or `slurm`.
        workers: processes on this machine; null = one per core, or none where they would not pay.
            Of slurm: jobs that may run at once; null = 256.
        address: of a dask scheduler or a ray head; null = a cluster on this machine.
        stack: runs to a stack, or `auto`.
        on_failure: `continue` with the other jobs, or `stop`.
        job_seconds: a job that takes longer is ended, and failed; null = any time. Jobs are then
            trained in worker processes, for only those can be ended.
        slurm: what engine=slurm asks of the site for each job.
    """

    _target_: str = "hydra_plugins.descent_stack.launcher.StackLauncher"
    engine: str = "loky"
    workers: int | None = None
    address: str | None = None
    stack: Any = "auto"
    on_failure: str = "continue"
    job_seconds: float | None = None
    slurm: SlurmConf = field(default_factory=SlurmConf)


def store() -> None:
    """Make `hydra/launcher=stack` this launcher: a renamed package beside it has one as well."""
    ConfigStore.instance().store(
        group="hydra/launcher", name="stack", node=StackLauncherConf, provider="descent"
    )


store()


class Returned(JobReturn):
    """What Hydra gets of a job; its config is made when somebody asks: that takes milliseconds."""

    def __init__(self, overrides: Sequence[str], config: Any, metric: float) -> None:
        self._config = config
        super().__init__(overrides=list(overrides), working_dir=str(Path.cwd()))
        self.status, self.return_value = JobStatus.COMPLETED, metric

    def __getattribute__(self, name: str) -> Any:
        """Return an attribute, `cfg` as Hydra's own launchers give it."""
        if name == "cfg":
            return OmegaConf.create(self._config)
        return super().__getattribute__(name)


class StackLauncher(Launcher):
    """Hands a sweeper's jobs to `descent.sweep`."""

    def __init__(
        self, engine: str, workers: int | None, address: str | None, stack: Any, on_failure: str,
        job_seconds: float | None, slurm: Any = None,
    ) -> None:  # fmt: skip
        site: Any = OmegaConf.to_container(slurm) if OmegaConf.is_config(slurm) else slurm
        self.options = (engine, workers, address, stack, on_failure, job_seconds, site or {})

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra gives."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Train the jobs; return each one's metric, NaN where it failed."""
        from descent.sweep.hydra import launch_jobs

        setup_globals()
        loader = self.hydra_context.config_loader
        ended = launch_jobs(loader, self.config, job_overrides, initial_job_idx, self.options)
        return [Returned(*job) for job in ended]
