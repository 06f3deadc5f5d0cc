"""How much each row counts in the loss: by a column of the table, and by its class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from descent.data.arrays import Arrays
from descent.errors import UserError
from descent.shapes import Float, Int

MOST_TOLD = 6


def class_weights(
    asked: str | Sequence[float] | None,
    arrays: Arrays,
    train: Int[np.ndarray, " n"],
    notes: list[str],
) -> tuple[float, ...]:
    """Return the weight of each class; none where classes are not weighed.

    Args:
        asked: `balanced`, a number for each class, or None.
        arrays: the data.
        train: the training rows, by whose counts n_k a balanced weight is n / (K n_k).
        notes: gets a line that says the weights.

    Raises:
        UserError: there are no classes, or not as many as numbers.
    """
    if asked is None:
        return ()
    classes = arrays.classes
    if not classes:
        raise UserError(
            "data.class_weight needs classes, but the target holds numbers; data.weight=column "
            "weighs rows."
        )
    if isinstance(asked, str):
        counts = np.bincount(arrays.targets[train], minlength=len(classes))
        weights = len(train) / (len(classes) * np.maximum(counts, 1))
    elif len(asked) != len(classes):
        shown = ", ".join(classes[:MOST_TOLD]) + (", ..." if len(classes) > MOST_TOLD else "")
        raise UserError(
            f"data.class_weight has {len(asked)} numbers for {len(classes)} classes; give one for "
            f"each of {shown}, in this order."
        )
    else:
        weights = np.asarray(asked, dtype=np.float64)
    told = [f"{name} {w:.4g}" for name, w in zip(classes, weights, strict=True)]
    more = ", ..." if len(told) > MOST_TOLD else ""
    notes.append(
        f"losses weigh classes: {', '.join(told[:MOST_TOLD])}{more}; other metrics count rows once"
    )
    return tuple(float(w) for w in weights)


def row_weights(
    arrays: Arrays, rows: Mapping[str, np.ndarray], by_class: Sequence[float], notes: list[str]
) -> Float[np.ndarray, " N"] | None:
    """Return the weight of every row; None where all count the same.

    Raises:
        UserError: a weight that is none, or a split in which nothing counts.
    """
    own = arrays.weights
    if own is None and not by_class:
        return None
    weights = np.ones(arrays.rows)
    if own is not None:
        wrong = ~(np.isfinite(own) & (own >= 0))
        if wrong.any():
            at = int(wrong.argmax())
            raise UserError(
                f"data.weight={arrays.weight} is {own[at]:g} in row {at + 1}; weights must be "
                "numbers from 0."
            )
        weights = own.astype(np.float64)
        for split, members in rows.items():
            if len(members) and not weights[members].any():
                raise UserError(
                    f"data.weight={arrays.weight} is 0 in all {len(members):,} rows kept for "
                    f"{split}, which could have no loss; give another column, or "
                    "another data.split_seed."
                )
        notes.append(f"losses weigh rows by {arrays.weight}; other metrics count rows once")
    if by_class:
        weights = weights * np.asarray(by_class)[arrays.targets]
    return weights
