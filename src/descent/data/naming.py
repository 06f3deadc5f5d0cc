"""What a parameter is called where people read it: `weight of age`, `bias`, `x`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from descent.data.prepare import Description

LINEAR = "descent.models.linear.Linear"
POINT = "descent.models.point.Point"


def readable(names: Iterable[str], model: str, data: Description) -> list[str]:
    """Return what each parameter is called; as PyTorch does where nothing better is known.

    Args:
        names: of `recording.path.parameter_names`, such as `layer.weight[0,3]`.
        model: the dotted name of the model's class.
        data: names the features, and a landscape's coordinates.
    """
    features = [name for column in data.columns for name in column.features]
    outputs = list(data.classes) if data.outputs > 1 else [""]
    if model == LINEAR:
        return [_linear(name, features, outputs) for name in names]
    if model == POINT:
        return [_coordinate(name, features) for name in names]
    return list(names)


def class_name(thing: object) -> str:
    """Return the dotted name of an object's class, as a config's `_target_` gives it."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _linear(name: str, features: list[str], outputs: list[str]) -> str:
    found = re.fullmatch(r"layer\.(?:weight\[(\d+),(\d+)\]|bias\[(\d+)\])", name)
    if not found:
        return name
    out, feature, bias = (None if g is None else int(g) for g in found.groups())
    row = bias if out is None else out
    if row is None or row >= len(outputs) or (feature or 0) >= len(features):
        return name
    of = f" → {outputs[row]}" if outputs[row] else ""
    return f"bias{of}" if feature is None else f"weight of {features[feature]}{of}"


def _coordinate(name: str, coordinates: list[str]) -> str:
    found = re.fullmatch(r"position\[(\d+)\]", name)
    i = int(found[1]) if found else len(coordinates)
    return coordinates[i] if i < len(coordinates) else name
