"""Which rows train, validate and test."""

from __future__ import annotations

import numpy as np

from descent.data.arrays import Arrays
from descent.data.drawing import draw
from descent.errors import UserError
from descent.shapes import Int


def split_rows(
    arrays: Arrays,
    val_fraction: float | int,
    test_fraction: float | int,
    seed: int,
    limit: float | int | None = None,
    *,
    folds: int | None = None,
    fold: int = 0,
    notes: list[str] | None = None,
) -> dict[str, Int[np.ndarray, " n"]]:
    """Split the rows into train, val and test.

    In proportion to the classes where there are classes; group by group where the arrays have
    groups; in order of time, the latest for test, where they have times.

    Args:
        arrays: the data.
        val_fraction: share of all rows kept for validation; 0 for none.
        test_fraction: share of all rows kept for test; 0 for none. A share above 0 is one row, or
            one group, at least.
        seed: of the split.
        limit: keep only this many training rows (>= 1) or this share of them (< 1).
        folds: cut what is not test into as many parts, of which one validates; None for no parts.
        fold: which part validates, from 0.
        notes: gets a line where the split is not quite as usual.

    Returns:
        Row numbers in rising order under `train`, `val` and `test`.

    Raises:
        UserError: a fraction that leaves no training rows, or parts that cannot be had.
    """
    told = [] if notes is None else notes
    cutter = _Cutter(arrays, seed, told)
    given = arrays.split or {}
    if given and folds is not None:
        raise UserError(
            "data.folds cuts rows anew, and the source has its own split; leave it out."
        )
    rest = given.get("train", np.arange(arrays.rows))
    held, rest = cutter.set_apart(rest, val_fraction, test_fraction, folds)
    test, val = given.get("test"), given.get("val")
    if test is None:
        if len(rest) == 2 and test_fraction and (val_fraction or folds):
            told.append("2 rows: one trains, one validates, and none is left for the test")
            test_fraction = 0
        rest, test = cutter.cut(rest, "test", test_fraction)
    if val is not None:
        told.append("rows for validation are the source's own (data.val_fraction has no effect)")
    elif folds is None:
        rest, val = cutter.cut(rest, "val", val_fraction)
    else:
        rest, val = cutter.part(rest, folds, fold)
    rest = np.sort(np.concatenate([rest, held]))
    if limit is not None:
        rest = cutter.limited(rest, limit)
    return {"train": rest, "val": val, "test": test}


class _Cutter:
    """Cuts rows off rows.

    Args:
        arrays: the data.
        seed: of the draws.
        notes: gets a line where a draw is not quite as usual.
    """

    def __init__(self, arrays: Arrays, seed: int, notes: list[str]) -> None:
        self._arrays, self._seed, self._notes = arrays, seed, notes
        self._ordered = arrays.times is not None
        self._grouped = arrays.groups is not None
        self._classes = arrays.task.is_classification and not (self._ordered or self._grouped)

    def set_apart(
        self, rows: np.ndarray, val: float | int, test: float | int, folds: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Tell rows of classes too rare for each split to get one: they train, the rest is cut."""
        splits = 1 + (test > 0) + (val > 0 or folds is not None)
        nothing = rows[:0]
        if not self._classes or splits == 1:
            return nothing, rows
        targets = self._arrays.targets[rows]
        rare = np.bincount(targets, minlength=len(self._arrays.classes)) < splits
        held = rare[targets]
        if not held.any():
            return nothing, rows
        if held.sum() > len(rows) / 2:  # most classes are rare: no proportions to keep
            self._classes = False
            self._notes.append(
                "most classes are too rare to be split in proportion: drawn at random"
            )
            return nothing, rows
        names = [self._arrays.classes[i] for i in np.flatnonzero(rare)]
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        self._notes.append(f"classes with fewer rows than the {splits} splits only train: {shown}")
        return rows[held], rows[~held]

    def cut(
        self, rows: np.ndarray, name: str, fraction: float | int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cut `fraction` of all rows off `rows`; return (what is left, what was cut)."""
        if fraction == 0:
            return rows, rows[:0]
        count = max(1, round(self._arrays.rows * fraction))
        if count >= len(rows):
            raise UserError(
                f"data.{name}_fraction={fraction:g} of {self._arrays.rows} rows leaves no training "
                f"rows; give another fraction, or 0 for no {name} split."
            )
        if self._ordered:
            return self._latest(rows, count)
        if self._grouped:
            return self._whole_groups(rows, count, f"data.{name}_fraction={fraction:g}")
        return self._draw(rows, count)

    def part(self, rows: np.ndarray, folds: int, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """Cut the fold `fold` of `folds` off `rows`."""
        from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

        if fold >= folds:
            raise UserError(f"data.fold={fold} counts from 0, so it must be below {folds}.")
        arrays = self._arrays
        if self._ordered:
            raise UserError(
                "data.folds needs rows in any order, and data.time asks for the latest to be kept; "
                "leave one of them out."
            )
        pieces = len(np.unique(arrays.groups[rows])) if arrays.groups is not None else len(rows)
        if folds > pieces:
            what = "groups" if self._grouped else "rows"
            raise UserError(f"data.folds={folds} is more than the {pieces} {what} there are.")
        if arrays.groups is not None:
            made = GroupKFold(folds, shuffle=True, random_state=self._seed).split(
                rows, groups=arrays.groups[rows]
            )
        elif self._classes and np.bincount(arrays.targets[rows]).min() >= folds:
            made = StratifiedKFold(folds, shuffle=True, random_state=self._seed).split(
                rows, arrays.targets[rows]
            )
        else:
            made = KFold(folds, shuffle=True, random_state=self._seed).split(rows)
        others, drawn = list(made)[fold]
        return np.sort(rows[others]), np.sort(rows[drawn])

    def limited(self, rows: np.ndarray, limit: float | int) -> np.ndarray:
        """Keep some of the training rows."""
        count = round(len(rows) * limit) if limit < 1 else int(limit)
        if count == 0:
            raise UserError(f"data.limit={limit:g} of {len(rows)} training rows leaves none.")
        return rows if count >= len(rows) else self._draw(rows, count)[1]

    def _latest(self, rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Cut off the latest rows, and with them all of their moment."""
        times = self._arrays.times[rows]  # type: ignore[index]
        first = np.sort(times)[-count]
        late = times >= first
        if late.all():
            raise UserError(
                "data.time has one moment for all that is left to split; give a smaller fraction."
            )
        return rows[~late], rows[late]

    def _whole_groups(
        self, rows: np.ndarray, count: int, what: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cut off groups until about `count` rows are cut."""
        groups = self._arrays.groups[rows]  # type: ignore[index]
        names, sizes = np.unique(groups, return_counts=True)
        if len(names) < 2:
            raise UserError(f"{what} needs two groups of data.group at least; only one is left.")
        order = np.random.default_rng(self._seed).permutation(len(names))
        ends = np.cumsum(sizes[order])
        enough = int(np.argmin(np.abs(ends - count))) + 1
        chosen = names[order[: min(enough, len(names) - 1)]]
        cut = np.isin(groups, chosen)
        return rows[~cut], rows[cut]

    def _draw(self, rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw `count` of `rows`; return (the others, the drawn).

        In proportion to the classes, where each side can have one of each.
        """
        classes = self._arrays.targets[rows] if self._classes else None
        if classes is not None:
            present = np.unique(classes, return_counts=True)[1]
            if min(count, len(rows) - count) < len(present) or present.min() < 2:
                self._notes.append(
                    f"{count} of {len(rows)} rows cannot hold all {len(present)} classes in "
                    "proportion: they are drawn at random"
                )
                classes = None
        others, drawn = (rows[i] for i in draw(len(rows), count, self._seed, classes))
        if classes is not None:
            self._give_each_class(others, drawn)
        return np.sort(others), np.sort(drawn)

    def _give_each_class(self, others: np.ndarray, drawn: np.ndarray) -> None:
        """Give the drawn a row of each class that proportion rounds to none, for a common one."""
        targets = self._arrays.targets
        for rare in np.setdiff1d(targets[others], targets[drawn]):
            counts, of_it = np.bincount(targets[drawn]), np.flatnonzero(targets[others] == rare)
            if counts.max() > 1 and len(of_it) > 1:
                out = np.flatnonzero(targets[drawn] == counts.argmax())[0]
                others[of_it[0]], drawn[out] = drawn[out], others[of_it[0]]
