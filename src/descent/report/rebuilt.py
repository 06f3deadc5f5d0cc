"""The full loss of any model, rebuilt from its run: torch, without Lightning."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from descent.data.prepare import Prepared
from descent.data.tensors import split_tensors
from descent.engine.blueprint import build_model
from descent.engine.continuing import read_weights
from descent.engine.losses import Penalty, criterion, objective_at
from descent.errors import UserError
from descent.records.run import LAST
from descent.report.record import Record
from descent.shapes import Float

MOST_ROWS = 2000  # a grid of 625 losses over more would take too long


def rebuilt(record: Record, prepared: Prepared) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """Return the full loss over the training rows, or over an even part of them.

    Args:
        record: the run whose model it is.
        prepared: its data.

    Returns:
        The loss, from parameters [n, P] to [n], and a note if it is over a part of the rows.

    Raises:
        UserError: the recorded path is not that of the run's own model.
    """
    torch.set_num_threads(1)  # a loss of a few rows is over before a second thread has begun
    model = build_model(record.config, record.data).float().eval()
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert record.path is not None
    if [(n, p.shape) for n, p in named.items()] != list(record.path.shapes.items()):
        raise UserError(f"the path in {record.run.path} is not that of the run's own model")
    _restore_buffers(model, record)
    dtype = torch.float64 if record.path.theta.dtype == np.float64 else torch.float32
    model = model.to(dtype)
    x, y = split_tensors(prepared, "train", torch.device("cpu"), dtype)
    count, every = len(x), -(-len(x) // MOST_ROWS)
    x, y = x[::every], y[::every]
    loss, penalties = criterion(record.config, record.data), Penalty(*record.penalties)
    sizes = [p.numel() for p in named.values()]

    @torch.no_grad()
    def one(flat: torch.Tensor) -> float:
        parts = flat.split(sizes)
        own = {n: part.view(p.shape) for (n, p), part in zip(named.items(), parts, strict=True)}
        return float(objective_at(model, loss, penalties, own, x, y))

    def heights(theta: Float[np.ndarray, "n P"]) -> Float[np.ndarray, " n"]:
        places = torch.from_numpy(np.ascontiguousarray(theta)).to(dtype)
        return np.array([one(flat) if flat.isfinite().all() else math.nan for flat in places])

    note = ""
    if every > 1:
        note = f"heights are over one in {every} of the {count:,} training rows"
    return heights, note


def _restore_buffers(model: torch.nn.Module, record: Record) -> None:
    """Give running statistics and the like the values they had at the end."""
    if not list(model.buffers()) or not record.run.checkpoint_path(LAST).is_file():
        return
    state = read_weights(record.run, LAST, model)["state_dict"]
    own = {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
    buffers = {name: own[name] for name, _ in model.named_buffers() if name in own}
    model.load_state_dict(buffers, strict=False)
