"""Where a run stands, in a checkpoint: random streams, and Lightning's counters."""

from __future__ import annotations

from typing import Any

import torch


def streams(device: torch.device) -> dict[str, Any]:
    """Return the states of torch's random streams that a run draws from."""
    on_gpu = device.type == "cuda"
    return {
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state(device) if on_gpu else None,
    }


def restore_streams(state: dict[str, Any], device: torch.device) -> None:
    """Take `streams` back; a run that moves to another kind of device begins its stream anew."""
    torch.set_rng_state(state["rng"])
    if state["cuda_rng"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda_rng"], device)


def tell_whole_epochs(loops: dict[str, Any], epochs: int) -> None:
    """Rewrite the loops of a Lightning checkpoint: so many epochs are over, and nothing else.

    Lightning's own restart in mid-epoch counts its batches, which here are windows and may be cut
    anywhere. Instead the windows themselves skip the steps of the current epoch that were taken.
    """
    fit = loops["fit_loop"]
    progress, batches = fit["epoch_progress"], fit["epoch_loop.batch_progress"]
    for span in ("total", "current"):
        progress[span] = dict.fromkeys(progress[span], epochs)
        batches[span] = dict.fromkeys(batches[span], 0)
    batches["is_last_batch"] = False
    fit["epoch_loop.state_dict"]["_batches_that_stepped"] = 0
