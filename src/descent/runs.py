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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from descent.data.prepare import Description
from descent.errors import UserError
from descent.recording.bounded import DamageError, read_checkpoint, read_json, read_yaml
from descent.recording.schema import NEEDED, check_config, check_result

CONFIG, DATA, RESULT, LOG, LOCK = "config.yaml", "data.json", "result.json", "train.log", ".lock"
SWEEP = "multirun.yaml"  # Hydra's, in the directory of a multirun
BEST, LAST = "best", "last"


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

    # ---- reading: checked, bounded, plain values

    def config(self) -> dict[str, Any]:
        """Read the config: plain values, in which nothing is left to resolve.

        Raises:
            UserError: this is no run directory, or its config is damaged.
        """
        try:
            config = self._read(CONFIG, read_yaml)
        except FileNotFoundError:
            what = (
                "is not a run directory: it has no"
                if self.path.is_dir()
                else "does not exist, so there is no"
            )
            raise UserError(
                f"{self.path} {what} {CONFIG}; give a directory that src/train.py made."
            ) from None
        lacking = [k for k in NEEDED if not isinstance(config, dict) or k not in config]
        if lacking:
            raise UserError(
                f"{self.path / CONFIG} is not a config of Descent: it has no '{lacking[0]}'."
            )
        self._check(CONFIG, check_config, config)
        return config

    def data(self) -> Description:
        """Read the description of the data; UserError if it is missing or damaged."""
        values = self._json(DATA)
        return self._check(DATA, Description.from_dict, values)

    def result(self) -> dict[str, Any]:
        """Read the result; UserError if it is missing or damaged."""
        result = self._json(RESULT)
        self._check(RESULT, check_result, result)
        return result

    def checkpoint(self, name: str) -> dict[str, Any]:
        """Load a checkpoint to the CPU: only tensors and primitives.

        Args:
            name: `best` or `last`.

        Raises:
            UserError: it is missing, damaged, or holds anything else.
        """
        file = str(self.checkpoint_path(name).relative_to(self.path))
        try:
            state = self._read(file, read_checkpoint)
        except FileNotFoundError:
            raise UserError(f"{self.path} has no checkpoint '{name}' ({name}.ckpt).") from None
        if not isinstance(state, dict):
            raise self._damaged(file, DamageError("it is no mapping"))
        return state

    def checkpoint_path(self, name: str) -> Path:
        """Return where a checkpoint lies, whether or not it exists."""
        return self.path / "checkpoints" / f"{name}.ckpt"

    def _json(self, name: str) -> dict[str, Any]:
        try:
            value = self._read(name, read_json)
        except FileNotFoundError:
            raise UserError(
                f"{self.path} has no {name}; it is not a run directory, or was never begun."
            ) from None
        if not isinstance(value, dict):
            raise self._damaged(name, DamageError("it is no object"))
        return value

    def _read(self, name: str, read: Callable[[Path], Any]) -> Any:
        return self._check(name, read, self.path / name)

    def _check(self, name: str, check: Callable[[Any], Any], value: Any) -> Any:
        """Return what a reader or a check of ours makes of a file."""
        try:
            return check(value)
        except DamageError as error:
            raise self._damaged(name, error) from None

    def _damaged(self, name: str, error: DamageError) -> UserError:
        return damaged(self.path / name, error)


def damaged(path: Path, error: DamageError) -> UserError:
    """Return the one sentence for a file that is not what it should be."""
    return UserError(f"{path} is damaged and cannot be read: {str(error).rstrip('.')}.")


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
