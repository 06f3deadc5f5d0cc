"""Descent: a laboratory for mini-batch gradient descent.

From Python, `descent.train`, `descent.sweep`, `descent.load` and `descent.runs` do what the
commands do, with the same engine in the same directories; `DescentRegressor` and
`DescentClassifier` are estimators of scikit-learn. Nothing is imported before it is used.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "train": "descent.api.start",
    "load": "descent.api.start",
    "runs": "descent.api.ledger",
    "DescentError": "descent.errors",
    "DescentRegressor": "descent.api.estimators",
    "DescentClassifier": "descent.api.estimators",
}
__all__ = [
    "DescentClassifier", "DescentError", "DescentRegressor", "load", "runs", "sweep", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "sweep":  # a package that can be called
        return importlib.import_module("descent.sweep")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'descent' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
