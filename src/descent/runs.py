"""The run directory: the unit of truth about one training.

    config.yaml         the resolved config; the model is rebuilt from it alone
    data.json           columns, classes, scalers and a fingerprint of the data
    result.json         status and reason, metrics, steps, seconds, device, versions
    epochs.csv steps.csv
    checkpoints/        best.ckpt and last.ckpt: tensors and primitives
    events.out.tfevents.*  curves.png  train.log

Whole files are written beside their name and moved there, so a crash leaves the old or the new.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from descent.data.prepare import Description
from descent.endings import Status
from descent.errors import UserError

CONFIG, DATA, RESULT, LOG, LOCK = "config.yaml", "data.json", "result.json", "train.log", ".lock"
SWEEP = "multirun.yaml"  # Hydra's, in the directory of a multirun
BEST, LAST = "best", "last"
NEEDED = ("data", "model", "optimizer", "scheduler", "trainer", "stop", "seed")


class Run:
    """A run directory that is read or written.

    Args:
        path: the directory.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    # ---- writing

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write the resolved config."""
        self._replace(CONFIG, config_text(config))

    def write_data(self, description: Mapping[str, Any]) -> None:
        """Write what is needed to encode new rows as the training rows were."""
        self._replace(DATA, data_text(description))

    def write_texts(self, config: str, data: str) -> None:
        """Write both as `config_text` and `data_text` gave them, for many runs at a time."""
        self._replace(CONFIG, config)
        self._replace(DATA, data)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write the result; numbers that are not finite become the texts nan, inf, -inf."""
        self._replace(RESULT, json.dumps(_speakable(result), indent=2, allow_nan=False) + "\n")

    def _replace(self, name: str, text: str) -> None:
        part = self.path / f"{name}.part"
        part.write_text(text, encoding="utf-8")
        part.replace(self.path / name)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory: two processes must not train in it at once.

        Raises:
            UserError: another process holds it.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise UserError(
                f"{self.path} is being trained in by another process; wait for it to end."
            ) from None
        try:
            yield
        finally:
            lock.release()
            with suppress(OSError):
                (self.path / LOCK).unlink()

    # ---- reading

    def config(self) -> dict[str, Any]:
        """Read the config.

        Raises:
            UserError: this is no run directory, or its config is damaged.
        """
        if not (self.path / CONFIG).is_file():
            what = (
                "is not a run directory: it has no"
                if self.path.is_dir()
                else "does not exist, so there is no"
            )
            raise UserError(
                f"{self.path} {what} {CONFIG}; give a directory that src/train.py made."
            )
        try:
            config = OmegaConf.to_container(OmegaConf.load(self.path / CONFIG), resolve=True)
        except Exception as error:
            raise self._damaged(CONFIG, error) from None
        lacking = [k for k in NEEDED if not isinstance(config, dict) or k not in config]
        if lacking:
            raise UserError(
                f"{self.path / CONFIG} is not a config of Descent: it has no '{lacking[0]}'."
            )
        return config  # type: ignore[return-value]

    def data(self) -> Description:
        """Read the description of the data; UserError if it is missing or damaged."""
        values = self._json(DATA)
        try:
            return Description.from_dict(values)
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(DATA, error) from None

    def result(self) -> dict[str, Any]:
        """Read the result; UserError if it is missing or damaged."""
        result = self._json(RESULT)
        if result.get("status") not in list(Status):
            raise self._damaged(RESULT, ValueError("it has no known status"))
        lacking = [key for key in ("reason", "step", "epoch") if key not in result]
        if lacking and result["status"] != Status.RUNNING:
            raise self._damaged(RESULT, ValueError(f"it has no {lacking[0]}"))
        return result

    def checkpoint(self, name: str) -> dict[str, Any]:
        """Load a checkpoint to the CPU: only tensors and primitives.

        Args:
            name: `best` or `last`.

        Raises:
            UserError: it is missing, damaged, or holds anything else.
        """
        import torch

        path = self.checkpoint_path(name)
        if not path.is_file():
            raise UserError(f"{self.path} has no checkpoint '{name}' ({path.name}).")
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception:
            why = ValueError("it is cut short, or holds more than tensors and plain values")
            raise self._damaged(f"checkpoints/{path.name}", why) from None

    def checkpoint_path(self, name: str) -> Path:
        """Return where a checkpoint lies, whether or not it exists."""
        return self.path / "checkpoints" / f"{name}.ckpt"

    def _json(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(
                f"{self.path} has no {name}; it is not a run directory, or was never begun."
            ) from None
        except (OSError, ValueError) as error:
            raise self._damaged(name, error) from None
        if not isinstance(value, dict):
            raise self._damaged(name, ValueError("it is no object"))
        return value

    def _damaged(self, name: str, error: Exception) -> UserError:
        first = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        return UserError(f"{self.path / name} is damaged and cannot be read: {first[:160]}.")


def config_text(config: Mapping[str, Any]) -> str:
    """Return `config.yaml`, section by section: the runs of a multirun share most of theirs."""
    return "".join(_section(key, pickle.dumps(value)) for key, value in config.items())


@lru_cache(maxsize=4096)
def _section(key: str, value: bytes) -> str:
    return OmegaConf.to_yaml(OmegaConf.create({key: pickle.loads(value)}))


def data_text(description: Mapping[str, Any]) -> str:
    """Return `data.json`."""
    return json.dumps(description) + "\n"


def discard(path: Path) -> None:
    """Remove a directory in which nothing has begun: empty, or with only a log in it."""
    with suppress(OSError):
        if all(p.name in (LOG, LOCK, SWEEP) for p in path.iterdir()):
            for leftover in (path / LOG, path / LOCK, path / SWEEP):
                leftover.unlink(missing_ok=True)
            path.rmdir()


def _speakable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _speakable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_speakable(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
