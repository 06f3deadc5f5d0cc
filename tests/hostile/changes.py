"""Changes of one thing in a run's or a multirun's directory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

Change = Callable[[Path], None]


def config(change: Callable[[dict[str, Any]], None], name: str = "config.yaml") -> Change:
    """Return a change of the values of a config."""

    def apply(run: Path) -> None:
        values = yaml.safe_load((run / name).read_text())
        change(values)
        (run / name).write_text(yaml.safe_dump(values, sort_keys=False))

    return apply


def put(key: str, value: Any) -> Change:
    """Return a change of one value of a config; groups on the way are made."""

    def change(values: dict[str, Any]) -> None:
        *groups, name = key.split(".")
        for group in groups:
            if not isinstance(values.get(group), dict):
                values[group] = {}
            values = values[group]
        values[name] = value

    return config(change)


def fields(file: str, **given: Any) -> Change:
    """Return a change of fields of a JSON file."""

    def apply(run: Path) -> None:
        values = json.loads((run / file).read_text())
        (run / file).write_text(json.dumps(values | given))

    return apply


def text(file: str, content: str | bytes) -> Change:
    """Return a change of a whole file."""

    def apply(run: Path) -> None:
        (run / file).unlink(missing_ok=True)
        (run / file).write_bytes(content.encode() if isinstance(content, str) else content)

    return apply


def special(file: str, kind: str) -> Change:
    """Return a change of a file to something else."""

    def apply(run: Path) -> None:
        path = run / file
        path.unlink(missing_ok=True)
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "directory":
            path.mkdir()
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "loop":
            path.symlink_to(path.name)
        elif kind == "huge":
            with path.open("wb") as made:
                made.truncate(2**40)

    return apply


def cut(file: str, size: int) -> Change:
    """Return a change that cuts a file short."""
    return lambda run: os.truncate(next(run.glob(file)), size)


def flipped(file: str, at: float) -> Change:
    """Return a change of one bit of a file."""

    def apply(run: Path) -> None:
        data = bytearray((run / file).read_bytes())
        data[int(at * (len(data) - 1))] ^= 0x10
        (run / file).write_bytes(data)

    return apply


def state(change: Callable[[dict[str, Any]], Any], name: str = "last") -> Change:
    """Return a change of what a checkpoint holds."""

    def apply(run: Path) -> None:
        import torch

        path = run / "checkpoints" / f"{name}.ckpt"
        values = torch.load(path, weights_only=True)
        made = change(values)
        torch.save(values if made is None else made, path)

    return apply


def array(**given: Any) -> Change:
    """Return a change of arrays of path.npz."""

    def apply(run: Path) -> None:
        with np.load(run / "path.npz") as file:
            values = {name: file[name] for name in file.files}
        np.savez(run / "path.npz", **(values | given))

    return apply
