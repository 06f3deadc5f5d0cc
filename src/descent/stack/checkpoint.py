"""`last.ckpt` of a stacked run: what Lightning would have written for it alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from descent.outcome import lightning_version
from descent.stack.finished import Best, Finished


def last_checkpoint(done: Finished, positions: dict[str, Any], validates: bool) -> dict[str, Any]:
    """Return the checkpoint that `src/train.py resume=` goes on from.

    Args:
        done: the run.
        positions: of the tables and the event file, and what they hold.
        validates: whether there are validation rows.
    """
    # one that ended within an epoch is saved before the row of that half epoch
    rows = done.epochs[:-1] if done.in_epoch else done.epochs
    callbacks: dict[str, Any] = {
        "Recorder": {
            "positions": positions["positions"],
            "samples": done.samples,
            "grad_norm": done.norm,
            "full_loss_at": positions["full_loss_at"],
            "last_row": {k: v for k, v in rows[-1].items() if k != "time"} if rows else {},
            "losses": [torch.from_numpy(block.copy()) for block, _ in done.losses],
            "rows": [sizes.tolist() for _, sizes in done.losses],
        },
        "Divergence": done.divergence,
    }
    if done.stopper is not None:
        callbacks[done.stopper[0]] = done.stopper[1]
    callbacks["Checkpoint"] = {"best": None if done.saved is None else best_state(done.saved)}
    return {
        "epoch": done.epoch,
        "global_step": done.step,
        "pytorch-lightning_version": lightning_version(),
        "state_dict": _named(done.weights),
        "loops": _loops(done.epoch, done.step, validates),
        "callbacks": callbacks,
        "optimizer_states": [done.optimizer],
        "lr_schedulers": [done.schedule],
        "descent": {
            "rng": done.rng,
            "cuda_rng": None,
            "epochs_done": done.epoch,
            "steps_in_epoch": done.in_epoch,
            "seconds": done.seconds,
        },
    }


def best_state(best: Best) -> dict[str, Any]:
    """Return what `best.ckpt` holds."""
    return {
        "value": best.value,
        "step": best.step,
        "epoch": best.epoch,
        "metrics": best.metrics,
        "state_dict": _named(best.weights),
    }


def _named(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"model.{name}": t.clone() for name, t in weights.items()}


def _loops(epochs: int, steps: int, validates: bool) -> dict[str, Any]:
    """Return Lightning's counters after so many whole epochs, as `position.py` tells them."""

    def batches(done: int, last: bool = False) -> dict[str, Any]:
        count = dict.fromkeys(("ready", "completed", "started", "processed"), done)
        return {"total": dict(count), "current": dict(count), "is_last_batch": last}

    def pair(total: int) -> dict[str, Any]:
        return {
            "total": dict.fromkeys(("ready", "completed"), total),
            "current": dict.fromkeys(("ready", "completed"), 0),
        }

    def evaluation(done: int) -> dict[str, Any]:
        return {"state_dict": {}, "batch_progress": batches(done, last=bool(done))}

    zero = {k: dict.fromkeys(("ready", "completed", "started"), 0) for k in ("total", "current")}
    whole = {k: v for k, v in batches(epochs).items() if k != "is_last_batch"}
    fit = {
        "state_dict": {},
        "epoch_loop.state_dict": {"_batches_that_stepped": 0},
        "epoch_loop.batch_progress": batches(0),
        "epoch_loop.scheduler_progress": pair(0),
        "epoch_loop.automatic_optimization.state_dict": {},
        "epoch_loop.automatic_optimization.optim_progress": {
            "optimizer": {"step": pair(0), "zero_grad": zero}
        },
        "epoch_loop.manual_optimization.state_dict": {},
        "epoch_loop.manual_optimization.optim_step_progress": pair(steps),
        **{f"epoch_loop.val_loop.{k}": v for k, v in evaluation(int(validates)).items()},
        "epoch_progress": whole,
    }
    predict = {k: v for k, v in batches(0).items() if k != "is_last_batch"}
    return {
        "fit_loop": fit,
        "validate_loop": evaluation(0),
        "test_loop": evaluation(0),
        "predict_loop": {"state_dict": {}, "batch_progress": predict},
    }
