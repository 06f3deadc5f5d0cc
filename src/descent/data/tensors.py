"""Prepared rows as tensors on a device, and walks over them in pieces."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from descent.data.arrays import Task
from descent.data.prepare import Prepared
from descent.data.scale import CHUNK, Scaler
from descent.data.windows import MOST_BYTES
from descent.shapes import Shaped

# What tensors are held in; mixed precisions cast inside the step, from float32.
DTYPES = {"64-true": torch.float64, "bf16-true": torch.bfloat16, "16-true": torch.float16}


class Chunks:
    """A split in pieces of at most 64 MiB, for evaluation.

    Args:
        x: [N, F].
        y: [N, ...].
    """

    def __init__(self, x: Shaped[Tensor, "N F"], y: Shaped[Tensor, "N ..."]) -> None:
        self.x, self.y = x, y
        self.rows = max(1, MOST_BYTES // max(x[:1].nbytes, 1))

    def __len__(self) -> int:
        return -(-len(self.x) // self.rows)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self.x.split(self.rows), self.y.split(self.rows), strict=True)


def split_tensors(
    prepared: Prepared, name: str, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return one split's scaled features [n, F] and encoded targets on the device.

    Where rows are weighed, their weights, of mean 1 in the split, are a last column beside the
    targets. Targets are int64 [n] for several classes, numbers [n, 1] for two, scaled numbers
    [n, C] for regression: what the loss of the task takes.
    """
    arrays, rows = prepared.arrays, prepared.rows[name]
    reuse = arrays.disposable and name == "train"
    x = scaled_tensor(arrays.features, rows, prepared.scaler, device, dtype, reuse=reuse)
    if arrays.task is Task.MULTICLASS:
        y = torch.from_numpy(arrays.targets[rows]).to(device)
    else:
        targets = arrays.targets.reshape(arrays.rows, -1)
        y = scaled_tensor(targets, rows, prepared.target_scaler, device, dtype)
    if prepared.weights is None:
        return x, y
    # half precisions do not hold the number of every class
    wide = torch.promote_types(dtype, torch.float32)
    own = prepared.weights[rows]
    weights = torch.from_numpy(own / (own.mean() if len(own) else 1.0)).to(device, wide)
    return x, torch.cat([(y if y.ndim == 2 else y[:, None]).to(wide), weights[:, None]], dim=1)


def scaled_tensor(
    values: Shaped[np.ndarray, "N F"],
    rows: np.ndarray,
    scaler: Scaler,
    device: torch.device,
    dtype: torch.dtype,
    reuse: bool = False,
) -> Shaped[Tensor, "n F"]:
    """Gather, scale and cast rows piece by piece, straight into one tensor on the device.

    Args:
        values: all rows, [N, F].
        rows: the n row numbers to take, rising.
        scaler: applied to them.
        device: of the tensor.
        dtype: of the tensor.
        reuse: make the tensor in the place of `values`, where that has its type and device. Rows
            rise, so that row i is read from place i or behind it, never from one overwritten.
    """
    if len(rows) == len(values) and scaler.is_identity and device.type == "cpu":
        # columns of a table are read-only views of Polars', which a tensor must not write to
        whole = torch.from_numpy(np.require(values, requirements=["C", "W"]))
        if whole.dtype == dtype:
            return whole
    same = device.type == "cpu" and values.flags.c_contiguous and values.flags.writeable
    if same and reuse and torch.from_numpy(values[:0]).dtype == dtype:
        out = torch.from_numpy(values)[: len(rows)]
    else:
        out = torch.empty((len(rows), values.shape[1]), dtype=dtype, device=device)
    for at in range(0, len(rows), CHUNK):
        piece = scaler.apply(values[rows[at : at + CHUNK]])
        out[at : at + CHUNK] = torch.from_numpy(piece)
    return out
