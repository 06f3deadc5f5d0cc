"""The only LightningModule for one run: model, loss, optimizer, and the window loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.func import functional_call

from descent.averaging import Averaging
from descent.clock import Clock
from descent.data.module import DataModule
from descent.data.prepare import Description
from descent.data.tensors import Chunks
from descent.data.windows import Window, Windows
from descent.endings import Ending
from descent.losses import Loss, Penalty, loss_for, penalized, penalty
from descent.position import restore_streams, streams, tell_whole_epochs
from descent.recording.axes import FULL_LOSS
from descent.schedules import Schedule
from descent.scores import SplitScores
from descent.seeds import NOISE, stream_seed
from descent.shapes import Float
from descent.stepping import Clip, DirectStepper, LightningStepper, make_stepper

STATE = "descent"  # our key in a checkpoint
Parameters = dict[str, Tensor]  # by name


class Learner(L.LightningModule):
    """Trains a model window by window.

    Args:
        model: maps [B, F] to [B, C].
        data: the task, the outputs and the target's scale.
        rows: how many each split holds; splits with none get no metrics.
        optimizer: makes an optimizer from parameters.
        schedule: of the learning rate.
        penalty: added to step, running and full loss; not to validation and test losses.
        clip: of gradients.
        max_steps: optimizer steps after which training ends; None for no limit.
        seed: the run's seed, for the noise stream.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Description,
        rows: Mapping[str, int],
        optimizer: Callable[..., torch.optim.Optimizer],
        schedule: Schedule,
        *,
        penalty: Penalty = Penalty(),  # noqa: B008 - frozen
        clip: Clip = Clip(),  # noqa: B008 - frozen
        max_steps: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.data = model, data
        self.loss: Loss = loss_for(data.task)
        self.penalty, self.clip = penalty, clip
        self.max_steps = math.inf if max_steps is None else max_steps
        self.seed = seed
        self._make_optimizer, self.schedule = optimizer, schedule
        self._penalized = penalized(model) if penalty != Penalty() else []
        self.scores = SplitScores(data, rows)
        self.clock = Clock()
        self.epochs_done = 0  # whole epochs
        self.steps_in_epoch = 0  # steps taken since
        self.grad_norm_every = 0  # measure the gradient norm at every n-th step; 0 for never
        self.stop_signal: str | None = None  # set by a signal handler, seen between two steps
        self.begun = False  # training, all callbacks being ready for it
        self.ending: Ending | None = None  # set by whoever ends the run early
        self.watchers: list[Callable[[int], None]] = []  # called with the step after each update
        self.measured: dict[str, float] = {}  # values of this moment, by metric name
        self._restored: dict[str, Any] = {}
        self._last_loss = torch.zeros(())
        self.averaging: Averaging  # of the weights it is judged by
        self.weights_from: str | None = None  # whose they are, if not those of the steps
        self._stepper: DirectStepper | LightningStepper

    @property
    def backbone(self) -> nn.Module:
        """The model's part of this name, where Lightning's `BackboneFinetuning` looks for it."""
        backbone: nn.Module = self.model.backbone  # type: ignore[assignment]
        return backbone

    @property
    def at_epoch_end(self) -> bool:
        """Whether all steps of the current epoch are taken, its end still to come."""
        return self.steps_in_epoch == self.windows.steps_per_epoch

    @property
    def lr(self) -> float:
        """The current learning rate of the first parameter group."""
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    @property
    def windows(self) -> Windows:
        """The training windows."""
        return self._data_module().windows

    @property
    def batch_size(self) -> int:
        """Rows per step."""
        return self.windows.batch_size

    def rows(self, split: str) -> tuple[Tensor, Tensor]:
        """Return a split's features [n, F] and targets [n, ...]."""
        return self._data_module().tensors[split]

    def trainable(self) -> Parameters:
        """Return the parameters that are trained, detached."""
        return {n: p.detach() for n, p in self.model.named_parameters() if p.requires_grad}

    def configure_optimizers(self) -> Any:
        """Build the optimizer and its schedule; `interval` tells when we step it by hand."""
        optimizer = self._make_optimizer(self.model.parameters())
        schedule = {
            "scheduler": self.schedule.make(optimizer),
            "interval": self.schedule.interval,
            "monitor": self.schedule.monitor,
        }
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    # ---- losses

    def objective(self, x: Float[Tensor, "B F"], y: Tensor) -> Float[Tensor, ""]:
        """Return the mini-batch loss that is minimized, penalties included."""
        loss = self.loss(self.model(x), y)
        if self._penalized:
            loss = loss + penalty(self._penalized, self.penalty.l1, self.penalty.l2)
        return loss

    def objective_at(
        self, parameters: Parameters, x: Float[Tensor, "B F"], y: Tensor
    ) -> Float[Tensor, ""]:
        """Return the objective at other weights than the model's own, as a function of them."""
        loss = self.loss(functional_call(self.model, parameters, (x,)), y)
        if self._penalized:
            weights = [p for p in parameters.values() if p.ndim > 1]
            loss = loss + penalty(weights, self.penalty.l1, self.penalty.l2)
        return loss

    def rank_objective(self, x: Float[Tensor, "B F"], y: Tensor) -> Float[Tensor, ""]:
        """Return this rank's share of the objective: the mean over ranks is the objective.

        Every rank sees the whole batch and takes each world_size-th row of it, so that several
        devices take the same steps as one.
        """
        rank, world = self.global_rank, self.trainer.world_size
        mine = slice(rank, None, world) if rank < len(x) else slice(0, 1)
        share = len(x[mine]) * world / len(x) if rank < len(x) else 0.0
        loss = self.loss(self.model(x[mine]), y[mine]) * share
        if self._penalized:
            loss = loss + penalty(self._penalized, self.penalty.l1, self.penalty.l2)
        return loss

    @torch.no_grad()
    def full_loss(self) -> float:
        """Return L(theta): the objective over all training rows at the weights to judge by."""
        x, y = self.rows("train")
        training = self.model.training
        self.model.eval()
        with self.averaging.judged(), self.trainer.precision_plugin.forward_context():
            self.averaging.note_measured()
            # summed on the host: pieces are few, and not every device knows float64
            terms = [float(self.loss(self.model(xb), yb)) * len(xb) for xb, yb in Chunks(x, y)]
            total = math.fsum(terms) / len(x)
            if self._penalized:
                total += float(penalty(self._penalized, self.penalty.l1, self.penalty.l2))
        self.model.train(training)
        return total

    @torch.no_grad()
    def measure_again(self) -> None:
        """Take full loss and validation metrics anew, of the weights that training has left."""
        measured = {name for name in self.measured if name.startswith("val/")}
        if FULL_LOSS in self.measured:
            self.measured[FULL_LOSS] = self.full_loss()
        if not measured:
            return
        training = self.model.training
        self.model.eval()
        with self.averaging.judged(), self.trainer.precision_plugin.forward_context():
            for x, y in Chunks(*self.rows("val")):
                self._evaluate("val", x, y)
        self.model.train(training)
        self.measured |= self.scores.take("val")

    # ---- the window loop

    def on_train_start(self) -> None:
        """Continue, or begin, the streams and the clock."""
        self._stepper = make_stepper(self.trainer, self, self.clip)
        self.begun = True
        restored, self._restored = self._restored, {}
        self.averaging.begin(restored.get("training_weights"))
        if restored:
            restore_streams(restored, self.device)
        else:
            torch.manual_seed(stream_seed(self.seed, NOISE))
        self.clock.start()

    def on_fit_start(self) -> None:
        """Point the windows at where this run begins, or continues: Lightning fetches early."""
        self._point_windows()
        self.averaging = Averaging(self.trainer, self, self.model)
        self.weights_from = self.averaging.by

    def on_train_epoch_start(self) -> None:
        """Point the windows at this epoch."""
        self._point_windows()
        self.measured.clear()

    def _point_windows(self) -> None:
        self.windows.epoch, self.windows.done = self.epochs_done, self.steps_in_epoch

    def training_step(
        self, window: Window | tuple[Tensor, Tensor], batch_idx: int
    ) -> dict[str, Any]:
        """Take the optimizer steps of a window, or the one of a single batch.

        Returns:
            losses [k], rows [k] (of each batch), lrs [k] and grad_norms (step -> norm) of the k
            steps taken: fewer than K after a signal, at the step limit, or when a loss is not
            finite, where the report ends with that loss; and the last `loss` as other people's
            callbacks look for it.
        """
        stepper, every, first = self._stepper, self.grad_norm_every, self.global_step
        per_step = self.lr_schedulers() if self.schedule.interval == "step" else None
        lr, limit = self.lr, self.max_steps - first
        losses: list[Tensor] = []
        rows: list[int] = []
        lrs: list[float] = []
        norms: dict[int, Tensor] = {}
        objective = self.objective if self.trainer.world_size == 1 else self.rank_objective
        batches = iter([window]) if isinstance(window, tuple) else window.batches()
        for x, y in batches:
            if len(losses) >= limit or self.stop_signal is not None:
                break
            step = first + len(losses) + 1
            measure = every > 0 and step % every == 0
            stepper.clear()
            loss = objective(x, y)
            norm = stepper.step(loss, measure)
            losses.append(loss.detach())
            rows.append(len(x))
            lrs.append(lr)
            if norm is not None:
                norms[step] = norm
            for watch in self.watchers:
                watch(step)
            if per_step is not None:
                per_step.step()  # type: ignore[union-attr]
                lr = self.lr
        return self._report(losses, rows, lrs, norms)

    def _report(
        self, losses: list[Tensor], rows: list[int], lrs: list[float], norms: dict[int, Tensor]
    ) -> dict[str, Any]:
        """Count the steps and bring the window's figures to the host, in bulk."""
        taken = len(losses)
        vector = torch.stack(losses) if taken else torch.empty(0)
        if self.trainer.world_size > 1:
            vector = self.trainer.strategy.reduce(vector, reduce_op="mean")
        vector = vector.cpu()
        lost = (~vector.isfinite()).nonzero()
        kept = int(lost[0]) + 1 if len(lost) else taken
        measured = torch.stack(list(norms.values())).tolist() if norms else []
        first = self.global_step
        self._last_loss = losses[-1] if taken else self._last_loss
        if self._stepper.counts_steps:
            first -= taken
        else:
            progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
            progress.total.ready += taken
            progress.total.completed += taken
        self.steps_in_epoch += taken
        if self.global_step >= self.max_steps:
            self.trainer.should_stop = True
        return {
            "first": first,
            "losses": vector[:kept],
            "rows": rows[:kept],
            "lrs": lrs[:kept],
            "grad_norms": {s: n for s, n in zip(norms, measured, strict=True) if s <= first + kept},
            "loss": self._last_loss,
        }

    def on_train_end(self) -> None:
        """Leave the weights to judge by in the model."""
        self.averaging.switch()

    def on_train_epoch_end(self) -> None:
        """Step an epoch schedule, after validation and after the records of this epoch."""
        if not self.at_epoch_end:
            return
        if self.schedule.interval == "epoch":
            self._step_epoch_schedule()
        self.epochs_done, self.steps_in_epoch = self.epochs_done + 1, 0

    def _step_epoch_schedule(self) -> None:
        scheduler = self.lr_schedulers()
        if not isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            scheduler.step()  # type: ignore[union-attr]
            return
        metrics = self.trainer.callback_metrics
        if self.schedule.monitor in metrics:
            scheduler.step(float(metrics[self.schedule.monitor]))

    # ---- validation and test

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Add a piece of the validation rows to its metrics."""
        if batch_idx == 0 and self.trainer.state.fn == "fit":
            self.averaging.note_validated()
        self._evaluate("val", *batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Add a piece of the test rows to its metrics."""
        self._evaluate("test", *batch)

    def _evaluate(self, split: str, x: Float[Tensor, "B F"], y: Tensor) -> None:
        outputs = self.model(x)
        self.scores.add(split, outputs, y, self.loss(outputs, y))

    def on_validation_start(self) -> None:
        """Stop the clock: evaluation is not training."""
        self.clock.stop()
        if self.trainer.state.fn == "fit":
            self.averaging.switch()

    def on_validation_end(self) -> None:
        """Let the clock go on."""
        if self.trainer.state.fn == "fit":
            self.averaging.switch_back()
            self.clock.start()

    def on_validation_epoch_end(self) -> None:
        """Hand the validation metrics to callbacks and to the records."""
        self.measured |= self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Hand the test metrics over."""
        self.measured |= self._log_metrics("test")

    def _log_metrics(self, split: str) -> dict[str, float]:
        values = self.scores.take(split)
        self.log_dict(values, logger=False)
        return values

    # ---- checkpoints: tensors and primitives only

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the streams and the position."""
        checkpoint[STATE] = {
            **streams(self.device),
            "epochs_done": self.epochs_done,
            "steps_in_epoch": self.steps_in_epoch,
            "seconds": self.clock.seconds,
        }
        training = self.averaging.training_weights()
        if training is not None:
            checkpoint[STATE]["training_weights"] = training
        checkpoint["epoch"] = self.epochs_done  # Lightning's counts late at an epoch's end
        tell_whole_epochs(checkpoint["loops"], self.epochs_done)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up where `on_save_checkpoint` left off."""
        self._restored = checkpoint[STATE]
        self.epochs_done = self._restored["epochs_done"]
        self.steps_in_epoch = self._restored["steps_in_epoch"]
        self.clock.seconds = self._restored["seconds"]

    def _data_module(self) -> DataModule:
        module = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(module, DataModule)
        return module
