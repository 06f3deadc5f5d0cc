"""`path.npz`: the parameters as they move, one row a recorded step."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from descent.files.atomic import replacing
from descent.files.bounded import DamageError, parse_json, read_npz
from descent.files.schema import each, every, is_count
from descent.shapes import Float, Int

FILE = "path.npz"


@dataclass(frozen=True)
class Trajectory:
    """Where a run went.

    Args:
        steps: [n] optimizer steps taken, rising; 0 is the start.
        theta: [n, P] all parameters after that many steps.
        shapes: of the tensors that were flattened and joined, by name, in their order.
    """

    steps: Int[np.ndarray, " n"]
    theta: Float[np.ndarray, "n P"]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """One name per number, such as `layer.weight[0,3]`."""
        return parameter_names(self.shapes)


def parameter_names(shapes: Mapping[str, Sequence[int]]) -> tuple[str, ...]:
    """Return one name per number, in the order of flattened and joined tensors."""
    return tuple(
        name + ("[" + ",".join(map(str, index)) + "]" if index else "")
        for name, shape in shapes.items()
        for index in itertools.product(*map(range, shape))
    )


def write_path(directory: Path, path: Trajectory) -> None:
    """Write the file."""
    shapes = json.dumps({name: list(shape) for name, shape in path.shapes.items()})
    with replacing(directory / FILE) as file:
        np.savez(file, steps=path.steps, theta=path.theta, shapes=np.array(shapes))


def read_path(directory: Path) -> Trajectory | None:
    """Read the file; None if the run recorded none.

    Raises:
        DamageError: it is damaged.
    """
    try:
        arrays = read_npz(directory / FILE, ("steps", "theta", "shapes"))
    except FileNotFoundError:
        return None
    steps, theta, shapes = arrays["steps"], arrays["theta"], parse_json(str(arrays["shapes"]))
    if not every(each(is_count))(shapes):
        raise DamageError("its 'shapes' are no sizes by name")
    tuples = {name: tuple(shape) for name, shape in shapes.items()}
    parameters = sum(map(math.prod, tuples.values()))
    if steps.ndim != 1 or theta.shape != (len(steps), parameters):
        raise DamageError("'theta' does not have the shape that 'steps' and 'shapes' tell")
    if steps.dtype.kind not in "iu" or theta.dtype.kind != "f" or (np.diff(steps) <= 0).any():
        raise DamageError("its steps do not rise, or its numbers are none")
    return Trajectory(steps, theta, tuples)
