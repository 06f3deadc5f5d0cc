"""Loggers of tracking services: for each run of ours one of theirs, many at once in a process.

`store` is the directory that runs lie in (`outputs`): what a service keeps of many runs lies there,
and never in a run directory, all of whose files are known. Nothing goes over the network unless
the user says so.
"""

from __future__ import annotations

import contextvars
import hashlib
import os
from argparse import Namespace
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger, WandbLogger
from lightning.pytorch.loggers.logger import Logger

from descent.config.spelling import install
from descent.errors import UserError


def store_of(run_dir: Path) -> Path:
    """Return the directory that a run's outputs lie in: where `runs/` or `multiruns/` are."""
    path = Path(os.path.abspath(run_dir))  # noqa: PTH100 - a link stays one
    above = path.parents
    if path.parent.name == "runs":
        return above[1]
    if len(above) > 2 and above[1].name == "multiruns":
        return above[2]
    return path.parent


def _label(run_dir: str) -> str:
    """Return a run's name among others: `runs/<time>`, or `<time>/3` of a multirun's."""
    return "/".join(Path(os.path.abspath(run_dir)).parts[-2:])  # noqa: PTH100


def _need(package: str) -> None:
    """Say how to get a package, whose extra has its name.

    Raises:
        UserError: it is not installed.
    """
    if find_spec(package) is None:
        raise UserError(f"logger={package} needs an extra: {install(package)}")


def _key(run_dir: str) -> str:
    """Return what tells a run directory from all others, the same when its run goes on."""
    return hashlib.sha256(os.path.abspath(run_dir).encode()).hexdigest()[:16]  # noqa: PTH100


class WandbRun(WandbLogger):
    """Weights & Biases; offline runs are sent with `wandb sync`.

    Args:
        run_dir: the run directory.
        store: where `wandb/` is made.
        project: a name.
        offline: send nothing.
        options: of `wandb.init`.
    """

    def __init__(
        self, run_dir: str, store: str, project: str = "descent", offline: bool = True,
        **options: Any,
    ) -> None:  # fmt: skip
        _need("wandb")
        # wandb's default is one run at a time in a process, to which every logger would log
        given: dict[str, Any] = {
            "name": _label(run_dir),
            "id": _key(run_dir),
            "reinit": "create_new",
        }
        given |= {"settings": {"silent": True}, **options}
        super().__init__(save_dir=store, project=project, offline=offline, **given)

    def finalize(self, status: str) -> None:
        """End the run, which wandb would do when the process ends; workers are killed."""
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=int(status != "success"))
            self._experiment = None


class MlflowRun(MLFlowLogger):
    """MLflow: `mlflow ui --backend-store-uri outputs/mlruns`.

    Args:
        run_dir: the run directory.
        store: where `mlruns/` is made, unless `tracking_uri` says where to log.
        experiment_name: a name.
        tracking_uri: of a server.
        resumed: go on with the run of this run directory.
    """

    def __init__(
        self, run_dir: str, store: str, experiment_name: str = "descent",
        tracking_uri: str | None = None, resumed: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        _need("mlflow")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
        if tracking_uri is None:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            tracking_uri = (Path(store) / "mlruns").as_uri()
        key = _key(run_dir)
        super().__init__(
            experiment_name=experiment_name, tracking_uri=tracking_uri, run_name=_label(run_dir),
            tags={"descent.run": key}, **options,
        )  # fmt: skip
        if resumed:
            self._run_id = self._run_before(key)

    def _run_before(self, key: str) -> str | None:
        experiment = self._mlflow_client.get_experiment_by_name(self._experiment_name)
        if experiment is None:
            return None
        found = self._mlflow_client.search_runs(
            [experiment.experiment_id], f"tags.`descent.run` = '{key}'"
        )
        return str(found[0].info.run_id) if found else None

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Log the options; those of a run that goes on stay as it was begun: MLflow keeps them."""
        if self._run_id is None:
            super().log_hyperparams(params)


class TrackioRun(Logger):
    """Trackio, local: `trackio show --project descent`; TRACKIO_DIR says where it keeps its runs.

    Args:
        run_dir: the run directory.
        project: a name.
        resumed: go on with the run of this run directory.
    """

    def __init__(self, run_dir: str, project: str = "descent", resumed: bool = False) -> None:
        super().__init__()
        _need("trackio")
        import trackio

        self._init = trackio.init
        self._run_dir, self._project, self._resumed = run_dir, project, resumed
        self._hyperparams: dict[str, Any] = {}
        self._run: Any = None

    @property
    def name(self) -> str:
        """The project."""
        return self._project

    @property
    def version(self) -> str:
        """The run's name."""
        return _label(self._run_dir)

    @property
    def experiment(self) -> Any:
        """Trackio's run, begun at its first use."""
        if self._run is None:
            # in a context of its own: there trackio ends the run that was begun before it
            self._run = contextvars.copy_context().run(
                self._init, self._project, name=self.version, config=self._hyperparams,
                resume="allow" if self._resumed else "never", embed=False,
                auto_log_gpu=False, auto_log_cpu=False,
            )  # fmt: skip
        return self._run

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log values at a step."""
        self.experiment.log(dict(metrics), step=step)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Keep the options, which the run is begun with."""
        self._hyperparams = dict(params if isinstance(params, Mapping) else vars(params))

    def finalize(self, status: str) -> None:
        """End the run."""
        if self._run is not None:
            self._run.finish()
            self._run = None
