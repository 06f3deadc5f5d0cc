"""The real data sets that scikit-learn brings along; nothing is downloaded.

Importing scikit-learn takes longer than to train on any of these. The two that most commands use
are read from its files without it, and by it where those are not found or not as expected.
"""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from descent.data.arrays import Arrays, Task, numeric

DIABETES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


def digits() -> Arrays:
    """1,797 handwritten digits: 64 grey pixels from 0 to 16, 10 classes."""
    table = _read("digits.csv.gz", (1797, 65), ",")
    if table is None:
        from sklearn.datasets import load_digits

        table = np.column_stack(load_digits(return_X_y=True))
    names = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    return Arrays(
        table[:, :-1], table[:, -1].astype(np.int64), Task.MULTICLASS, numeric(names), "digit",
        tuple(map(str, range(10))), image=(8, 8),
    )  # fmt: skip


def breast_cancer() -> Arrays:
    """569 tumours: 30 measurements; malignant or benign."""
    from sklearn.datasets import load_breast_cancer

    return _classification(load_breast_cancer(), "diagnosis")


def wine() -> Arrays:
    """178 wines: 13 chemical measurements; 3 growers."""
    from sklearn.datasets import load_wine

    return _classification(load_wine(), "grower")


def iris() -> Arrays:
    """150 irises: 4 lengths in cm; 3 species."""
    from sklearn.datasets import load_iris

    return _classification(load_iris(), "species")


def diabetes() -> Arrays:
    """442 patients: 10 measurements; disease progression a year later, 25 to 346."""
    features = _read("diabetes_data_raw.csv.gz", (442, 10))
    targets = _read("diabetes_target.csv.gz", (442,))
    if features is None or targets is None:
        from sklearn.datasets import load_diabetes

        features, targets = load_diabetes(return_X_y=True)
    else:  # each column to mean 0 and a sum of squares of 1, to the last bit as it does
        spread = features.std(0)
        features -= features.mean(0)
        features = features / spread / len(features) ** 0.5
    return Arrays(features, targets, Task.REGRESSION, numeric(list(DIABETES)), "progression")


def _read(name: str, shape: tuple[int, ...], delimiter: str | None = None) -> NDArray | None:
    """Return a file of scikit-learn's, without importing that; None if it has not this shape."""
    spec = find_spec("sklearn")
    for place in (spec and spec.submodule_search_locations) or []:
        path = Path(place) / "datasets" / "data" / name
        if path.is_file():
            with gzip.open(path, "rt", encoding="utf-8") as file:
                table = np.loadtxt(file, delimiter=delimiter)
            return table if table.shape == shape else None
    return None


def _classification(bunch: object, target: str) -> Arrays:
    names = tuple(str(name) for name in bunch.target_names)  # type: ignore[attr-defined]
    return Arrays(
        bunch.data,  # type: ignore[attr-defined]
        bunch.target.astype(np.int64),  # type: ignore[attr-defined]
        Task.BINARY if len(names) == 2 else Task.MULTICLASS,
        numeric(list(bunch.feature_names)),  # type: ignore[attr-defined]
        target,
        names,
    )
