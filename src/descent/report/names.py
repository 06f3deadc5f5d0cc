"""What parameters are called in a picture."""

from __future__ import annotations

import re

from descent.landscapes import landscape_named
from descent.report.heights import LINEAR
from descent.report.record import Record


def parameter_labels(record: Record) -> list[str]:
    """Return one readable name per recorded parameter: x and y, or the features' own names."""
    names = list(record.path.names) if record.path is not None else []
    if record.landscape is not None:
        coordinates = landscape_named(record.landscape).coordinates
        return list(coordinates) if len(coordinates) == len(names) else names
    if record.config["model"].get("_target_") != LINEAR:
        return names
    features = [name for column in record.data.columns for name in column.features]
    outputs = list(record.data.classes) if record.data.outputs > 1 else [""]
    return [_linear(name, features, outputs) for name in names]


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
