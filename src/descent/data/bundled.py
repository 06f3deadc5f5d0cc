"""The real data sets that scikit-learn brings along; nothing is downloaded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from descent.data.arrays import Arrays, Task, numeric


def digits() -> Arrays:
    """1,797 handwritten digits: 64 grey pixels from 0 to 16, 10 classes."""
    from sklearn.datasets import load_digits

    return replace(_classification(load_digits(), "digit"), image=(8, 8))


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
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes()
    return Arrays(
        bunch.data, bunch.target, Task.REGRESSION, numeric(list(bunch.feature_names)), "progression"
    )


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
