"""A run's checkpoint: tensors and plain values, of a single run and of each run of a stack alike.

format          2; those of format 1 were written by Lightning, and are read all the same
stack, abreast  the name of runs that train side by side, and how many of them go on from here
global_step     steps taken
state_dict      weights and buffers, `model.` before their names
optimizer_states, lr_schedulers   one each, as torch has them
callbacks       by class: what each keeps of the run
descent         the position within the epoch, the random streams, the training seconds
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from descent.errors import UserError, first_line

FORMAT = 2

# `learner` is the one in `engine/learner.py`, which imports this file.


def going_on(learner: Any) -> int:
    """Return how many runs have not ended."""
    return sum(run not in learner.endings for run in learner.live.tolist())


def state_of(learner: Any, run: int, abreast: int) -> dict[str, Any]:
    """Return a run's checkpoint.

    Args:
        learner: of all runs.
        run: which.
        abreast: what `going_on` returns, which is the same for all that are saved at one moment.
    """
    column = learner.column(run)
    state, track = learner.kernel.state(column), learner.rates.track(column)
    training = state.get("training_weights")
    made = {
        "format": FORMAT,
        "stack": learner.stack,
        "abreast": abreast,
        "epoch": learner.epochs_done,
        "global_step": learner.step,
        "state_dict": {f"model.{name}": t for name, t in state["weights"].items()},
        "optimizer_states": [state["optimizer"]],
        "lr_schedulers": [track.scheduler.state_dict()],
        "callbacks": _callback_states(learner, run),
        "descent": {
            "rng": state["rng"],
            "cuda_rng": state["cuda_rng"],
            "epochs_done": learner.epochs_done,
            "steps_in_epoch": learner.steps_in_epoch,
            "seconds": learner.seconds,
            **({} if training is None else {"training_weights": training}),
        },
    }
    if learner.runs == 1:
        for other in learner.others:  # averages put in their own weights, beside the model's
            other.on_save_checkpoint(learner.trainer, learner, made)
    return made


def _callback_states(learner: Any, run: int) -> dict[str, Any]:
    made = {type(o).__qualname__: o.state_of(learner, run) for o in learner.observers}
    if learner.runs == 1:  # those of others work on one run
        made |= {other.state_key: other.state_dict() for other in learner.others}
        scaler = learner.trainer.precision_plugin
        made[type(scaler).__qualname__] = scaler.state_dict()
    return {name: state for name, state in made.items() if state}


def load_all(learner: Any, states: Sequence[Mapping[str, Any]]) -> None:
    """Take the checkpoint of every run back; streams come later, when nobody draws any more.

    Raises:
        UserError: they are not of these runs.
    """
    try:
        for run, state in enumerate(states):
            _load(learner, run, state)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        first = first_line(error).rstrip(":")[:160]
        raise UserError(
            f"The checkpoint to go on from does not fit the run: {first}; it is of another "
            "model, optimizer or schedule."
        ) from error
    _tell_lightning(learner)


def _load(learner: Any, run: int, state: Mapping[str, Any]) -> None:
    own, callbacks = state["descent"], state["callbacks"]
    weights = {n.removeprefix("model."): t for n, t in state["state_dict"].items()}
    (optimizer,), (schedule,) = state["optimizer_states"], state["lr_schedulers"]
    training = own.get("training_weights")
    learner.kernel.load(
        run, {"weights": weights, "optimizer": optimizer, "training_weights": training}
    )
    learner.rates.load(run, schedule, optimizer["param_groups"][0])
    for observer in learner.observers:
        name = type(observer).__qualname__
        # Lightning's early stopping, in checkpoints of format 1, has its options in its key
        kept = callbacks.get(name) or next(
            (kept for key, kept in callbacks.items() if key.startswith(f"{name}{{")), None
        )
        if kept is not None:
            observer.load_of(run, kept)
    if learner.runs == 1:
        for other in learner.others:
            other.on_load_checkpoint(learner.trainer, learner, dict(state))
            if other.state_key in callbacks:
                other.load_state_dict(callbacks[other.state_key])
        scaler = learner.trainer.precision_plugin
        name = type(scaler).__qualname__
        scaler.load_state_dict(callbacks.get(name) or state.get(name) or {})
    learner.go_on_from(
        state["global_step"], own["epochs_done"], own["steps_in_epoch"], own["seconds"]
    )


def _tell_lightning(learner: Any) -> None:
    """Set Lightning's counters: so many steps and whole epochs are over.

    Of a half epoch it knows nothing where it hands over windows; where it hands over batches, what
    its own checkpoint of a batch's end would say, so that callbacks see their true `batch_idx`.
    """
    loop = learner.trainer.fit_loop
    steps = loop.epoch_loop.manual_optimization.optim_step_progress
    steps.total.ready = steps.total.completed = learner.step
    within = learner.steps_in_epoch if learner.windows.single else 0
    begun = learner.epochs_done + (within > 0)
    for span in (loop.epoch_progress.total, loop.epoch_progress.current):
        span.ready = span.started = begun
        span.processed = span.completed = learner.epochs_done
    if within:
        batches = loop.epoch_loop.batch_progress
        for span, count in ((batches.total, learner.step), (batches.current, within)):
            span.ready = span.started = span.processed = count
            span.completed = count - 1  # Lightning counts the last one when it goes on
        loop.epoch_loop._batches_that_stepped = learner.step - 1
        loop.restarting = True
