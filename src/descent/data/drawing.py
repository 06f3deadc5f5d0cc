"""Rows drawn at random: the very ones that scikit-learn's `train_test_split` draws.

Importing scikit-learn takes a second, which is more than most of the fits that want their rows
split. tests/data/test_split.py holds these against it.
"""

from __future__ import annotations

import numpy as np

from descent.shapes import Int


def draw(
    rows: int, count: int, seed: int, classes: Int[np.ndarray, " n"] | None = None
) -> tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]:
    """Draw some of n rows without replacement; return (the others, the drawn), each rising.

    Args:
        rows: n.
        count: how many are drawn.
        seed: of NumPy's `RandomState`.
        classes: of each row, two of each at least, to be drawn from in proportion.
    """
    rng = np.random.RandomState(seed)
    if classes is None:
        order = rng.permutation(rows)
        return np.sort(order[count:]), np.sort(order[:count])
    of_row, sizes = np.unique(classes, return_inverse=True, return_counts=True)[1:]
    members = np.split(np.argsort(of_row, kind="stable"), np.cumsum(sizes)[:-1])
    kept = _shares(sizes, rows - count, rng)
    taken = _shares(sizes - kept, count, rng)
    orders = [of_class[rng.permutation(len(of_class))] for of_class in members]
    others = [order[:a] for order, a in zip(orders, kept, strict=True)]
    drawn = [order[a : a + b] for order, a, b in zip(orders, kept, taken, strict=True)]
    return np.sort(np.concatenate(others)), np.sort(np.concatenate(drawn))


def _shares(
    sizes: Int[np.ndarray, " c"], total: int, rng: np.random.RandomState
) -> Int[np.ndarray, " c"]:
    """Return how many rows of each class make a total in proportion; ties go by chance."""
    exact = sizes / sizes.sum() * total
    shares = np.floor(exact)
    lacking = int(total - shares.sum())
    left = exact - shares
    for value in np.unique(left)[::-1]:
        if not lacking:
            break
        (tied,) = np.where(left == value)
        chosen = rng.choice(tied, size=min(len(tied), lacking), replace=False)
        shares[chosen] += 1
        lacking -= len(chosen)
    return shares.astype(int)
