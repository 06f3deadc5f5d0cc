"""Checkpoints that somebody tampered with: what a run cannot go on from, or predict with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hostile.changes import Change, put, state

State = dict[str, Any]


def _first(values: State, change: Callable[[torch.Tensor], Any]) -> None:
    name = next(iter(values["state_dict"]))
    values["state_dict"][name] = change(values["state_dict"][name])


def _one_less(values: State) -> None:
    values["state_dict"].pop(next(iter(values["state_dict"])))


WEIGHTS: dict[str, Callable[[State], None]] = {
    "weights one less": _one_less,
    **{
        f"weights {name}": partial(_first, change=change)  # type: ignore[call-arg]
        for name, change in {
            "of another shape": lambda t: torch.zeros(7),
            "unfolded": lambda t: torch.zeros(1).expand(10**12),
            "complex": lambda t: t.to(torch.complex64),
            "whole": lambda t: t.to(torch.int64),
            "true or false": lambda t: t.bool(),
            "without numbers": lambda t: t.to("meta"),
            "a list": lambda t: t.tolist(),
        }.items()
    },
}


def _group(values: State) -> State:
    found: State = values["optimizer_states"][0]["param_groups"][0]
    return found


def _kept(values: State) -> State:
    found: State = values["optimizer_states"][0]["state"]
    return found


def _momentum(values: State, value: Any) -> None:
    _kept(values)[0]["momentum_buffer"] = value


def _others(values: State, value: Any) -> None:
    """Give every field of every callback but the recorder's a value."""
    for name, kept in values["callbacks"].items():
        if name != "Recorder":
            values["callbacks"][name] = dict.fromkeys(kept, value)


OPTIMIZER: dict[str, Callable[[State], Any]] = {
    "no momentum": lambda v: v.update(
        optimizer_states=[{"state": {}, "param_groups": [_group(v)]}]),
    "no optimizer": lambda v: v.update(optimizer_states=[]),
    "an optimizer of nothing": lambda v: v.update(optimizer_states=[{}]),
    "momentum of another shape": lambda v: _momentum(v, torch.zeros(9)),
    "momentum of one number": lambda v: _momentum(v, torch.tensor(3.0)),
    "momentum complex": lambda v: _momentum(v, _kept(v)[0]["momentum_buffer"] * 1j),
    "momentum null": lambda v: _momentum(v, None),
    "momentum a number": lambda v: _momentum(v, 3.0),
    "momentum a text": lambda v: _kept(v).update({0: "x"}),
    "no lr": lambda v: _group(v).__delitem__("lr"),
    "lr -1": lambda v: _group(v).update(lr=-1.0),
    "lr nan": lambda v: _group(v).update(lr=float("nan")),
    "lr of three": lambda v: _group(v).update(lr=torch.ones(3)),
    "nesterov a text": lambda v: _group(v).update(nesterov="x"),
}  # fmt: skip
SCHEDULE: dict[str, Callable[[State], Any]] = {
    "no schedule": lambda v: v.update(lr_schedulers=[]),
    "an empty schedule": lambda v: v["lr_schedulers"][0].clear(),
    **{
        f"a schedule whose {name} is {value}": lambda v, name=name, value=value: v[  # type: ignore[misc]
            "lr_schedulers"
        ][0].update({name: value})
        for name, value in {
            "step": 5, "get_lr": 1, "optimizer": 3, "_step_count": "x", "last_epoch": 10**40,
            "base_lrs": "x", "_last_lr": [float("nan")],
        }.items()
    },
}  # fmt: skip
POSITION: dict[str, Callable[[State], Any]] = {
    "another step": lambda v: v.update(global_step=v["global_step"] + 1),
    "a step that is true": lambda v: v.update(global_step=True),
    "another epoch": lambda v: v["descent"].update(epochs_done=99),
    "steps beyond the epoch": lambda v: v["descent"].update(
        epochs_done=0, steps_in_epoch=v["global_step"]),
    "an epoch of text": lambda v: v["descent"].update(epochs_done="2"),
    "seconds that are no number": lambda v: v["descent"].update(seconds=float("nan")),
    "no stream": lambda v: v["descent"].update(rng=torch.zeros(3, dtype=torch.uint8)),
    "training weights of text": lambda v: v["descent"].update(training_weights="x"),
    "a later format": lambda v: v.update(format=99),
    "abreast of text": lambda v: v.update(abreast="x"),
}  # fmt: skip
CALLBACKS: dict[str, Callable[[State], Any]] = {
    "no recorder": lambda v: v["callbacks"].__delitem__("Recorder"),
    "half a recorder": lambda v: v["callbacks"].update(
        Recorder={"positions": v["callbacks"]["Recorder"]["positions"]}),
    "no positions": lambda v: v["callbacks"]["Recorder"].update(positions="x"),
    "positions of text": lambda v: v["callbacks"]["Recorder"].update(positions={"steps": "x"}),
    "positions below 0": lambda v: v["callbacks"]["Recorder"].update(positions={"steps": -5}),
    "a position within a row": lambda v: v["callbacks"]["Recorder"]["positions"].update(steps=1),
    "losses without rows": lambda v: v["callbacks"]["Recorder"].update(losses=[torch.ones(2)]),
    "callbacks of texts": lambda v: _others(v, "x"),
    "callbacks of lists": lambda v: _others(v, [1, 2]),
    "callbacks of nan": lambda v: _others(v, float("nan")),
}  # fmt: skip


def damage() -> Iterator[tuple[str, Change, str]]:
    """Yield names, changes, and which checkpoint each changes."""
    for who in ("last", "best"):
        for name, change in WEIGHTS.items():
            yield name, state(change, who), who
    for name, change in (OPTIMIZER | SCHEDULE | POSITION | CALLBACKS).items():

        def applied(values: State, change: Callable[[State], Any] = change) -> None:
            change(values)  # and returns nothing, which would be taken for another state

        yield name, state(applied), "last"
    yield "a callback that would remove a file of somebody's", removes_a_file, "last"


KEEPER = {
    "_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "save_top_k": 1,
    "monitor": "train/loss", "mode": "min",
}  # fmt: skip


def removes_a_file(run: Path) -> None:
    """Let Lightning's own callback take a file of the user's for its worst checkpoint."""
    (run.parent / "thesis.txt").write_text("thesis")
    put("callbacks.keeper", KEEPER)(run)
    worst, place = torch.tensor(9.0), str((run / "checkpoints").absolute())
    theirs = f"{place}/../../thesis.txt"  # which Lightning takes to lie in the directory

    def change(values: State) -> None:
        from lightning.pytorch.callbacks import ModelCheckpoint

        made = ModelCheckpoint(monitor="train/loss", save_top_k=1)
        values["callbacks"][made.state_key] = {
            "monitor": "train/loss", "dirpath": place, "best_model_path": theirs,
            "best_model_score": worst, "current_score": worst, "best_k_models": {theirs: worst},
            "kth_best_model_path": theirs, "kth_value": worst, "last_model_path": theirs,
        }  # fmt: skip

    state(change)(run)
