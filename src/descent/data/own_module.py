"""A LightningDataModule of the user's as a source: its rows, and its split where it has one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from descent.data.arrays import Arrays, Task, numeric
from descent.errors import ForeignError, UserError, first_line

READ = 4096  # rows at a time
SPLITS = {"train": "fit", "val": "fit", "test": "test"}  # and the stage that sets each up


def rows(
    datamodule: Any,
    task: str = "auto",
    classes: Sequence[str] = (),
    features: Sequence[str] = (),
    target: str = "target",
) -> Arrays:
    """Read the rows of a LightningDataModule, each once, in the order of its datasets.

    What its loaders draw at random in each epoch (order, batches, augmentation) is not taken over:
    order and batches are those of `data.*`.

    Args:
        datamodule: an object with `setup` and `train_dataloader`, of batches (x, y).
        task: `regression`, `classification`, or `auto`: classes where targets are whole numbers.
        classes: their names; empty for their numbers.
        features: their names; empty for x0, x1, ...
        target: its name.

    Raises:
        UserError: it is no data module, or its rows are no pairs of numbers.
    """
    name = type(datamodule).__name__
    if not callable(getattr(datamodule, "train_dataloader", None)):
        raise UserError(f"data.source.datamodule makes a {name}, not a LightningDataModule.")
    if task not in ("auto", "regression", "classification"):
        raise UserError(
            f"data.source.task={task} does not fit: it must be auto, regression or classification."
        )
    parts = _parts(datamodule, name)
    x = np.concatenate([x for x, _ in parts.values()])
    y = np.concatenate([y for _, y in parts.values()])
    shape = x.shape[1:]
    image = shape[-2:] if len(shape) == 2 or (len(shape) == 3 and shape[0] == 1) else None
    flat = x.reshape(len(x), -1).astype(np.float64 if x.dtype == np.float64 else np.float32)
    names = list(features) or [f"x{i}" for i in range(flat.shape[1])]
    if len(names) != flat.shape[1]:
        raise UserError(
            f"data.source.features names {len(names)} features, and {name} gives {flat.shape[1]}."
        )
    kind, targets, known = _targets(y, task, list(classes), name)
    ends = np.cumsum([0, *(len(part) for part, _ in parts.values())])
    split = {key: np.arange(ends[i], ends[i + 1]) for i, key in enumerate(parts)}
    given = ", ".join(f"{len(rows):,} {key}" for key, rows in split.items())
    note = f"{name} gives {given} rows, each read once"
    return Arrays(
        flat, targets, kind, numeric(names), target, known,
        image=None if image is None else (int(image[0]), int(image[1])),
        split=split, notes=(note,),
    )  # fmt: skip


def _parts(module: Any, name: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return features and targets of each split that the module has."""
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    try:
        module.prepare_data()
        for split, stage in SPLITS.items():
            if split != "val":
                module.setup(stage)
            if split != "train" and not _has(module, f"{split}_dataloader"):
                continue
            loader = getattr(module, f"{split}_dataloader")()
            if loader is not None:
                found[split] = _read(loader, f"{name}.{split}_dataloader")
    except UserError:
        raise
    except Exception as error:
        raise ForeignError(f"data.source.datamodule: {name} fails: {first_line(error)}.") from error
    return found


def _has(module: Any, hook: str) -> bool:
    """Whether a class of the user's defines a hook."""
    return any(
        hook in vars(kind)
        for kind in type(module).__mro__
        if not kind.__module__.startswith(("lightning.", "pytorch_lightning."))
    )


def _read(loader: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    xs, ys = [], []
    for batch in _batches(loader):
        if not isinstance(batch, (list, tuple)) or len(batch) != 2:
            raise UserError(
                f"{where} gives {type(batch).__name__}s; a batch must be a pair (x, y)."
            )
        x, y = (np.asarray(part) for part in batch)
        if x.dtype.kind not in "fiub" or y.dtype.kind not in "fiub" or len(x) != len(y):
            raise UserError(f"{where} gives pairs that are no numbers, one y for each x.")
        xs.append(x)
        ys.append(y)
    if not xs:
        raise UserError(f"{where} gives no rows.")
    return np.concatenate(xs), np.concatenate(ys)


def _batches(loader: Any) -> Iterator[Any]:
    """Yield all rows in the order of the dataset, where there is one; else as they come."""
    from torch.utils.data import DataLoader, IterableDataset

    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        yield from loader
        return
    yield from DataLoader(loader.dataset, batch_size=READ, collate_fn=loader.collate_fn)


def _targets(
    y: np.ndarray, task: str, classes: list[str], name: str
) -> tuple[Task, np.ndarray, tuple[str, ...]]:
    whole = y.dtype.kind in "iub"
    if task == "regression" or (task == "auto" and not whole):
        return Task.REGRESSION, y.astype(np.float64), ()
    y = y.reshape(-1)
    if not whole and not np.array_equal(y, np.rint(y)):
        raise UserError(
            f"data.source.task=classification wants whole numbers, and {name} gives fractions."
        )
    numbers = y.astype(np.int64)
    known = classes or [str(value) for value in np.unique(numbers)]
    if classes and not 0 <= numbers.min() <= numbers.max() < len(classes):
        raise UserError(
            f"data.source.classes names {len(classes)} classes, and {name} gives "
            f"{numbers.min()} to {numbers.max()}."
        )
    if not classes:
        numbers = np.searchsorted(np.unique(numbers), numbers)
    if math.prod(y.shape) != len(numbers) or len(known) < 2:
        raise UserError(f"{name} gives one class alone; there is nothing to tell apart.")
    kind = Task.BINARY if len(known) == 2 else Task.MULTICLASS
    return kind, numbers, tuple(known)
