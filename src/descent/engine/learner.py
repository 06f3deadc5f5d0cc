"""The only LightningModule: R runs window by window, and the one way in which a run ends."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Timer
from torch import Tensor, nn

from descent.data.module import DataModule
from descent.data.prepare import Description
from descent.data.windows import SeedWindow, SeedWindows
from descent.engine.averaging import Averaging
from descent.engine.clock import Clock
from descent.engine.evaluating import Evaluator, Metrics
from descent.engine.foreign import may_change_weights, tell_batches
from descent.engine.kernel import Figures, Kernel
from descent.engine.losses import Penalty
from descent.engine.module_kernel import ModuleKernel
from descent.engine.observer import Observer, Phase
from descent.engine.rates import Rates
from descent.engine.state import load_all
from descent.errors import UserError
from descent.records.endings import Ending, Reason, Status
from descent.records.tables import FULL_LOSS
from descent.shapes import Float, Int

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """When every run ends at the latest; None for never."""

    epochs: int | None = None
    steps: int | None = None


class Learner(L.LightningModule):
    """Trains R runs; one run is R = 1.

    Args:
        kernel: takes their steps.
        data: the task, the outputs and the target's scale.
        rows: how many each split holds; splits with none get no metrics.
        seeds: of each run.
        penalties: of each run.
        limits: of all.
        validate_every: epochs from one validation to the next; 0 for never.
    """

    def __init__(
        self,
        kernel: Kernel,
        data: Description,
        rows: Mapping[str, int],
        seeds: Sequence[int] = (0,),
        penalties: Sequence[Penalty] = (Penalty(),),
        limits: Limits = Limits(),
        validate_every: int = 1,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.kernel = kernel
        if isinstance(kernel, ModuleKernel):
            self.model = kernel.module  # registered: strategies look for it here
        self.data, self.limits = data, limits
        self.seeds, self.penalties = list(seeds), list(penalties)
        self.evaluator = Evaluator(data, rows, kernel.criterion)
        self.validate_every = validate_every
        self.run_loggers: Sequence[Sequence[Any]] = [[] for _ in self.seeds]  # of each run
        self.stack = ""  # the name of runs that train side by side, in their checkpoints
        self.clock = Clock()
        self.seconds = self._lap = 0.0  # each run's share of the training seconds, to its window
        self.live: Int[np.ndarray, " A"] = np.arange(len(self.seeds))  # the run in each column
        self.endings: dict[int, Ending] = {}
        self.released: Callable[[Sequence[int]], None] = lambda runs: None
        self.observers: list[Observer] = []  # in the order of their phases
        self.others: list[L.Callback] = []
        self._direct = True  # whether validation within a fit is ours, and not Lightning's
        self.watchers: list[Callable[[int], None]] = []  # called with the step after each update
        self.grad_norm_every = 0  # measure the gradient norm at every n-th step; 0 for never
        self.measured: Metrics = {}  # values of this moment, by name
        self._validated: Metrics = {}  # by Lightning's own loop
        self.absent: dict[str, np.ndarray] = {}  # which of them a run does not have, [A]
        self.step = 0  # taken
        self.epochs_done = 0  # whole epochs
        self.steps_in_epoch = 0  # steps taken since
        self.epoch = 0  # the one that is being looked at, from 1; 0 before training
        self.begun = False  # training, all callbacks being ready for it
        self.weights_from: str | None = None  # whose they are, if not those of the steps
        self.aborted = False  # by an exception: no checkpoint is written any more
        self.stop_signal: str | None = None  # set by a signal handler, seen between two steps
        self._last_loss = torch.zeros(())
        self.restored: Sequence[Mapping[str, Any]] | None = None  # checkpoints to go on from

    @property
    def backbone(self) -> nn.Module:
        """The model's part of this name, where Lightning's `BackboneFinetuning` looks for it."""
        return self.model.backbone  # type: ignore[return-value]

    @property
    def runs(self) -> int:
        return len(self.seeds)

    @property
    def rates(self) -> Rates:
        return self.kernel.rates

    @property
    def at_epoch_end(self) -> bool:
        """Whether all steps of the current epoch are taken, its end still to come."""
        return self.steps_in_epoch == self.windows.steps_per_epoch

    @property
    def windows(self) -> SeedWindows:
        return self._data_module().windows

    @property
    def max_steps(self) -> float:
        """Steps after which training ends."""
        return math.inf if self.limits.steps is None else self.limits.steps

    @property
    def longest(self) -> float:
        """Steps that a run takes at most, by both limits."""
        epochs = math.inf if self.limits.epochs is None else self.limits.epochs
        return min(self.max_steps, epochs * self.windows.steps_per_epoch)

    @property
    def is_last(self) -> bool:
        """Whether an epoch that ends now is the last."""
        done = self.epochs_done + 1
        limits = self.step >= self.max_steps or done == self.limits.epochs
        return limits or not self.at_epoch_end or self.trainer.should_stop

    def column(self, run: int) -> int:
        """Return where a run is."""
        return int(np.flatnonzero(self.live == run)[0])

    def columns(self, runs: Sequence[int]) -> Int[np.ndarray, " r"]:
        """Return where some runs are."""
        return np.flatnonzero(np.isin(self.live, runs))

    def rows(self, split: str) -> tuple[Tensor, Tensor]:
        """Return a split's features [n, F] and targets [n, ...]."""
        return self._data_module().tensors[split]

    @classmethod
    def load_from_checkpoint(cls, *_: Any, **__: Any) -> Any:
        raise UserError("A checkpoint is opened with its run: descent.load('<run>').module.")

    def configure_optimizers(self) -> Any:
        """Build what Lightning is to know of optimizers and schedules."""
        return self.kernel.configure()

    # ---- the window loop

    def setup(self, stage: str) -> None:
        """Turn Lightning's evaluation loop off while fitting: it takes longer than small epochs.

        Other people's callbacks get it: they may watch it, or change the weights for it.
        """
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        self.others = [c for c in callbacks if not isinstance(c, (Observer, Timer))]
        if stage == "fit":
            self._limit = self.trainer.limit_val_batches
            whole = self._limit == 0 or (self._limit == 1 and isinstance(self._limit, float))
            self._direct = whole and not self.others
            if self._direct:
                self.trainer.limit_val_batches = 0

    def teardown(self, stage: str) -> None:
        """Turn it on again."""
        if stage == "fit":
            self.trainer.limit_val_batches = self._limit

    def on_fit_start(self) -> None:
        """Go on from checkpoints, if there are any; point the windows: Lightning fetches early."""
        self.observers = sorted(
            (c for c in self.trainer.callbacks if isinstance(c, Observer)),  # type: ignore[attr-defined]
            key=lambda observer: observer.phase,
        )
        if self.restored is not None:
            load_all(self, self.restored)
        self.on_train_epoch_start()
        if self.others:
            tell_batches(self.trainer, self.windows.steps_per_epoch)

    def on_train_start(self) -> None:
        """Begin, or continue, streams and callbacks."""
        self.kernel.bind(self, self.step)
        self.begun = True
        if self._averaging is not None:
            self.weights_from = self._averaging.by
        for run, state in enumerate(self.restored or ()):
            self.kernel.load_streams(run, state["descent"])
        self._tell("begin")
        # some begin at their target, or had ended: within an epoch, before that was looked at
        go = self._end_half if self.steps_in_epoch else self._let_go
        go(self._pending())
        self.restored = None
        self.clock.start()

    def on_train_epoch_start(self) -> None:
        """Point the windows at this epoch."""
        self.windows.epoch, self.windows.done = self.epochs_done, self.steps_in_epoch

    def training_step(
        self, window: SeedWindow | tuple[Tensor, Tensor], batch_idx: int
    ) -> dict[str, Any]:
        """Take the steps of a window, or the one of a single batch.

        Returns:
            `figures` of the steps taken: fewer than K after a signal or at the limit of steps;
            and the last `loss`, as other people's callbacks look for it.
        """
        if self.others:
            self.rates.look_again(self.trainer.lr_scheduler_configs)
        kernel, every, first = self.kernel, self.grad_norm_every, self.step
        per_step, lr = self.rates.per_step, self.rates.values
        limit = self.max_steps - first
        losses: list[Tensor] = []
        lrs: list[np.ndarray] = []
        norms: dict[int, Tensor] = {}
        batches = iter([window]) if isinstance(window, tuple) else (
            kernel.batches(*window.tensors(), self.windows.batch_size)
        )  # fmt: skip
        for x, y in batches:
            if len(losses) >= limit or self.stop_signal is not None:
                break
            step = first + len(losses) + 1
            loss, norm = kernel.step(x, y, lr, every > 0 and step % every == 0)
            losses.append(loss)
            lrs.append(lr)
            if norm is not None:
                norms[step] = norm
            for watch in self.watchers:
                watch(step)
            if per_step:
                self.rates.end_step()
                lr = self.rates.values
        self._last_loss = losses[-1] if losses else self._last_loss
        return {"figures": self._figures(losses, lrs, norms), "loss": self._last_loss}

    def _figures(
        self, losses: list[Tensor], lrs: list[np.ndarray], norms: dict[int, Tensor]
    ) -> Figures:
        """Count the steps and bring the window's figures to the host, in bulk."""
        taken, runs, first = len(losses), len(self.live), self.step
        matrix = torch.stack(losses).view(taken, -1) if taken else torch.empty(0, runs)
        if self.trainer.world_size > 1:
            matrix = self.trainer.strategy.reduce(matrix, reduce_op="mean")
        if matrix.dtype not in (torch.float32, torch.float64):
            matrix = matrix.float()
        measured: np.ndarray | list[Any] = []
        if norms:
            stacked = torch.stack(list(norms.values())).view(len(norms), -1)
            measured = stacked.double().cpu().numpy()
        rows = self.windows.batch_rows(self.steps_in_epoch, taken)
        now, ended, began = self.clock.seconds, time.time(), self.seconds
        elapsed, self._lap = now - self._lap, now
        self.seconds += elapsed / runs
        self.step += taken
        self.steps_in_epoch += taken
        self._count(taken)
        return Figures(
            first=first,
            epoch=self.epochs_done + 1,
            losses=matrix.cpu().numpy(),
            lrs=np.array(lrs).reshape(taken, runs),
            rows=np.array(rows, dtype=np.int64),
            norms=dict(zip(norms, measured, strict=True)),
            began=began,
            seconds=elapsed / runs,
            elapsed=elapsed,
            time=ended,
        )

    def _count(self, taken: int) -> None:
        """Advance Lightning's own count of steps, unless its optimizers have done so."""
        if isinstance(self.kernel, ModuleKernel) and self.kernel.stepper.counts_steps:
            return
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        progress.total.ready += taken
        progress.total.completed += taken

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Look at the window; let go of runs that end with it."""
        figures: Figures = outputs["figures"]
        if len(figures.losses):
            self._tell("window", figures)
        self._release(self._pending(Status.DIVERGED))
        if not len(self.live) or self.at_epoch_end:
            return  # the epoch's end comes next
        self._end_within()
        if len(self.live):
            self._tell("rest")

    def _end_within(self) -> None:
        """End runs within an epoch: at a target, a limit, a signal, or a callback's word."""
        if self.stop_signal is not None:
            self._end_each(self.stopped_by(self.stop_signal))
            self._release(self._pending())
            return
        self.end_out_of_time()
        if self.trainer.should_stop:
            self._end_each(Ending(Reason.STOPPED, {"step": self.step}))
        if not (ended := self._pending()):
            return
        self._tell("halfway", ended)
        if len(ended) < len(self.live):
            self._end_half(ended)
        else:
            self.trainer.should_stop = True  # Lightning ends the epoch

    def _end_half(self, ended: Sequence[int]) -> None:
        """Look at the half epoch of runs that end with it, and let go of them."""
        if not ended:
            return
        columns = self.columns(ended)
        self._look(columns)
        self._tell("epoch", columns, phases=(Phase.KEEP,))
        self._let_go(ended)

    def on_train_epoch_end(self) -> None:
        """Look at the epoch, or at the half of it that there is."""
        if not len(self.live):
            return
        if self.at_epoch_end:
            self._end_epoch()
        else:
            self._end_half(self._pending())
        if len(self.live):
            self._tell("rest")

    def _end_epoch(self) -> None:
        """Look at a whole epoch, take the schedules on, and end the runs whose time has come."""
        self._look(np.arange(len(self.live)))
        self.rates.end_epoch(self.measured)
        self.epochs_done, self.steps_in_epoch = self.epochs_done + 1, 0
        self.end_out_of_time()
        if self.stop_signal is not None:
            self._end_each(self.stopped_by(self.stop_signal))
        ended = self._pending()
        going = self.columns([run for run in self.live if not self._lost(run)])
        self._tell("epoch", going, phases=(Phase.KEEP,))
        self._let_go(ended)

    def _let_go(self, ended: Sequence[int]) -> None:
        """Release runs; one with callbacks of others when those have had their last word."""
        if not ended or not self.others or self._lost(ended[0]):
            self._release(ended)
            return
        self.trainer.should_stop = True
        if self._averaging is not None and self._averaging.ends_with_average:
            self._tell("halfway", ended)  # the average leaves nothing to go on from

    def _look(self, columns: Int[np.ndarray, " a"]) -> None:
        """Validate, measure, record and judge runs for which an epoch, or its part, is over."""
        self.measured, self.absent, self.epoch = dict(self._validated), {}, self.epochs_done + 1
        self._validated = {}
        if self._direct and self.validate_every and self.epoch % self.validate_every == 0:
            self.measured |= self.metrics("val")
        self._tell("epoch", columns, phases=(Phase.MEASURE, Phase.RECORD, Phase.SHOW))
        if self.others or self.is_last:  # it takes longer than to measure a small model
            self._log()
        self._tell("epoch", columns, phases=(Phase.END,))

    def on_train_end(self) -> None:
        """End the runs that somebody else stopped."""
        self._end_each(Ending(Reason.STOPPED, {"step": self.step}))
        if len(self.live) and self._averaging is not None and self._averaging.end():
            self._measure_again()
        self._release(self._pending())
        self.clock.stop()
        if self._averaging is not None:  # leave the weights to judge by in the model
            self._averaging.switch()

    # ---- how runs end

    def end(self, run: int, ending: Ending) -> None:
        """End a run: it is let go of as soon as the window, or the epoch, has been looked at.

        The first ending counts.
        """
        self.endings.setdefault(int(run), ending)

    def stopped_by(self, name: str) -> Ending:
        """Return the ending by a signal."""
        return Ending(Reason.SIGNAL, {"signal": name, "step": self.step})

    def _measure_again(self) -> None:
        """Measure weights that were changed when training had ended: those that will be kept."""
        validated = any(name.startswith("val/") for name in self.measured)
        if FULL_LOSS in self.measured:
            self.measured[FULL_LOSS] = self.full_losses()
        if validated:
            self.measured |= self.metrics("val")
        names = ", ".join(type(c).__name__ for c in self.others if may_change_weights(c))
        self.weights_from = names
        log.info("weights   changed by %s after the last epoch: measured again and kept", names)
        self._tell("changed")

    def abort(self, ending: Ending) -> None:
        """End all runs at once: nothing is measured, or saved, any more."""
        self.aborted = True
        for run in self.live:
            self.endings[int(run)] = ending
        self._release([int(run) for run in self.live])

    def _end_each(self, ending: Ending) -> None:
        for run in self.live:
            self.end(run, ending)

    def end_out_of_time(self) -> None:
        """End runs whose steps or epochs are taken."""
        if self.step >= self.max_steps:
            self._end_each(Ending(Reason.STEPS, {"steps": self.step}))
        if self.limits.epochs is not None and self.epochs_done >= self.limits.epochs:
            self._end_each(Ending(Reason.EPOCHS, {"epochs": self.limits.epochs}))

    def _pending(self, status: Status | None = None) -> list[int]:
        """Return runs that have ended and are still there."""
        return [
            int(run) for run in self.live
            if run in self.endings and status in (None, self.endings[run].status)
        ]  # fmt: skip

    def _lost(self, run: int) -> bool:
        return run in self.endings and self.endings[run].status is Status.DIVERGED

    def _release(self, runs: Sequence[int]) -> None:
        """Let go of runs that have ended, and go on with the rest."""
        if not runs:
            return
        with self.clock.paused():
            self._tell("ended", runs)
            self.released(runs)
        stay = np.flatnonzero(~np.isin(self.live, runs))
        self.live = self.live[stay]
        if not len(stay):  # the last weights stay where they are
            if self._trainer is not None:
                self._trainer.should_stop = True
            return
        self._tell("keep", stay, learner=False)
        self.kernel.keep(torch.from_numpy(stay))
        self.rates.keep(stay.tolist())
        self.windows.keep([self.seeds[run] for run in self.live])
        self.measured = {name: values[stay] for name, values in self.measured.items()}
        self.absent = {name: mask[stay] for name, mask in self.absent.items()}

    def _tell(
        self, hook: str, *arguments: Any, phases: Sequence[Phase] = tuple(Phase),
        learner: bool = True,
    ) -> None:  # fmt: skip
        given = (self, *arguments) if learner else arguments
        for observer in self.observers:
            if observer.phase in phases:
                getattr(observer, hook)(*given)

    # ---- evaluation

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluate: off the clock, in evaluation mode, in the trainer's precision."""
        with (
            self.clock.paused(),
            self.kernel.evaluating(),
            self.trainer.precision_plugin.forward_context(),
        ):
            yield

    def full_losses(self) -> Float[np.ndarray, " A"]:
        """Return L(theta) of each run: the objective over all training rows at its weights."""
        with self.evaluating(), torch.no_grad():
            if self._averaging is not None:
                self._averaging.note_measured()
            losses = self.evaluator.losses(self.kernel, *self.rows("train"))
            return (losses + self.kernel.penalties().double().cpu()).numpy()

    def metrics(self, split: str, weights: Mapping[str, Tensor] | None = None) -> Metrics:
        """Return each run's metrics of a split, at other weights [r, ...] if they are given."""
        if not self.evaluator.names(split):
            return {}
        with self.evaluating():
            return self.evaluator.metrics(self.kernel, split, *self.rows(split), weights)

    def _log(self) -> None:
        """Offer the figures of a single run to callbacks that are not ours."""
        if self.runs == 1 and self.measured:
            self.log_dict({n: float(of[0]) for n, of in self.measured.items()}, logger=False)

    @property
    def _averaging(self) -> Averaging | None:
        """What Lightning's own loop switches for, while fitting."""
        if self.trainer.state.fn != "fit" or not isinstance(self.kernel, ModuleKernel):
            return None
        return self.kernel.averaging

    def on_validation_start(self) -> None:
        """Stop the clock; put the weights in that the optimizer answers with."""
        self.clock.stop()
        if self._averaging is not None:
            self._averaging.switch()

    def on_validation_end(self) -> None:
        """Go on from where steps are taken, and let the clock go on."""
        if self._averaging is not None:
            self._averaging.switch_back()
            self.clock.start()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Take a piece of the validation rows."""
        if batch_idx == 0 and self._averaging is not None:
            self._averaging.note_validated()
        self.evaluator.add(self.kernel.outputs(batch[0]), batch[1])

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Take a piece of the test rows, for `trainer.test`."""
        self.evaluator.add(self.kernel.outputs(batch[0]), batch[1])

    def on_validation_epoch_end(self) -> None:
        with self.evaluating():
            self.measured = self._validated = self.evaluator.take("val", rows=self.rows("val"))
        self._log()

    def on_test_epoch_end(self) -> None:
        with self.evaluating():
            self.measured = self.evaluator.take("test", rows=self.rows("test"))
        self._log()

    def go_on_from(self, step: int, epochs: int, steps_in_epoch: int, seconds: float) -> None:
        """Set the position: steps, whole epochs, steps since, and training seconds."""
        self.step, self.epochs_done, self.steps_in_epoch = step, epochs, steps_in_epoch
        self.clock.seconds = self.seconds = self._lap = seconds

    def _data_module(self) -> DataModule:
        module = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(module, DataModule)
        return module
