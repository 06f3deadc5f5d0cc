"""R runs in lockstep: the window loop, and each run's own end.

Order of events, figures and endings are those of a single run (`learner.py` and its callbacks);
tests hold the two against each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from descent.blueprint import build_models
from descent.clock import Clock
from descent.data.prepare import Description, Prepared
from descent.data.tensors import DTYPES, split_tensors
from descent.endings import Ending, Reason
from descent.recording.axes import FULL_LOSS, GRAD_NORM, LR, RUNNING_LOSS
from descent.shapes import Float
from descent.stack.batches import stacked_windows
from descent.stack.bests import Bests
from descent.stack.evaluating import Evaluator
from descent.stack.finished import Best, Finished, some_at_a_time
from descent.stack.history import History, Paths, WindowFigures, place
from descent.stack.judging import Judge
from descent.stack.noise import Noise
from descent.stack.objective import Objective
from descent.stack.rules import RULES
from descent.stack.stacking import StackedModel
from descent.stack.tracks import Tracks

Config = Mapping[str, Any]
Measured = dict[int, dict[str, float]]  # metrics by run


class Stack:
    """Runs that differ only in numbers, trained as one program.

    Args:
        configs: of each run; runs of one seed are neighbours.
        prepared: the data of all.
        device: where to train.
    """

    def __init__(self, configs: Sequence[Config], prepared: Prepared, device: torch.device) -> None:
        self.configs = configs
        self._callbacks = configs[0]["callbacks"]
        self.data = Description.from_dict(prepared.describe())
        dtype = DTYPES.get(configs[0]["trainer"]["precision"], torch.float32)
        tensors = {
            name: split_tensors(prepared, name, device, dtype) for name in ("val", "test", "train")
        }
        self.model = StackedModel(build_models(configs, self.data), device)
        parameters = list(self.model.parameters.values())
        self._rule = RULES[configs[0]["optimizer"]["_target_"]](
            parameters, [config["optimizer"] for config in configs]
        )
        self.tracks = Tracks(configs, self.data)
        self._noise = Noise([config["seed"] for config in configs], self.model)
        self._full = self._callbacks.get("full_loss")
        self.windows = stacked_windows(configs, prepared, tensors["train"])
        self._objective = Objective(self.data.task, self.model, configs, parameters[0].detach())
        self.evaluator = Evaluator(self.model, self._objective, self.data, tensors)
        self._judge = Judge(configs)
        self._bests = Bests(self._callbacks.get("checkpoint"), len(configs), self.model)
        self._history = History(len(configs))
        options = self._callbacks.get("path") or {"points": 0, "most_mib": 0.0}
        self._paths = Paths(
            {name: tuple(t.shape[1:]) for name, t in self.model.parameters.items()},
            options["points"], options["most_mib"], parameters[0].element_size(),
        )  # fmt: skip
        self._slots = list(range(len(configs)))  # the run in each row of the tensors
        self._columns = {run: i for i, run in enumerate(self._slots)}
        self._live = set(self._slots)
        self._clock, self._lap, self._share, self._now = Clock(), 0.0, 0.0, time.time()

    # ---- the loop

    @property
    def training_seconds(self) -> float:
        """Spent on steps so far, for all runs together."""
        return self._clock.seconds

    def train(self, tick: Callable[[int], None] = lambda steps: None) -> Iterator[list[Finished]]:
        """Train all runs; yield those that have ended, some at a time.

        Args:
            tick: called after each window with the steps taken, over all runs.
        """
        self._begin()
        epoch = 0
        while self._live:
            yield from self._epoch(epoch, tick)
            epoch += 1
            self._compact()

    def _begin(self) -> None:
        self._paths.watch(0, self._columns, list(self.model.parameters.values()))
        if self._full is not None:
            for run, value in zip(self._slots, self.evaluator.full_losses(), strict=True):
                self._judge.begin(run, value)
                self._add_row(run, 0, {FULL_LOSS: value}, {})

    def _epoch(self, epoch: int, tick: Callable[[int], None]) -> Iterator[list[Finished]]:
        in_epoch, sizes = 0, self.windows.first
        for x, y in self.windows.epoch(epoch):
            room = self._judge.max_steps - self._history.steps
            count = int(min(-(-x.shape[1] // sizes.batch_size), room))
            self._window(x, y, count, epoch)
            tick(count * len(self._live))
            in_epoch += count
            yield from some_at_a_time(self._end_lost(epoch))
            if in_epoch == sizes.steps_per_epoch:
                break
            ended = self._reached_within()
            if self._history.steps >= self._judge.max_steps:
                ended = sorted(self._live)
            if ended:
                yield from some_at_a_time(self._end_epoch(epoch, ended, in_epoch))
            if not self._live:
                return
        if self._live:
            yield from some_at_a_time(self._end_epoch(epoch, sorted(self._live), 0))

    def _window(self, x: Tensor, y: Tensor, count: int, epoch: int) -> None:
        """Take a window's steps."""
        self._clock.start()
        self.model.train(True)
        size, runs = self.windows.first.batch_size, self._slots
        every = self._callbacks["recorder"]["grad_norm_every"]
        parameters = list(self.model.parameters.values())
        lr, per_step = self._rates(), self.tracks.per_step(runs)
        losses, lrs, norms = [], [], {}
        for k in range(count):
            step = self._history.steps + k + 1
            rows = slice(k * size, (k + 1) * size)
            loss, norm = self._step(x[:, rows], y[:, rows], lr, every > 0 and step % every == 0)
            losses.append(loss)
            lrs.append(lr)
            if norm is not None:
                norms[step] = norm
            self._paths.watch(step, self._columns, parameters)
            if per_step:
                self.tracks.end_step(runs)
                lr = self._rates()
        found = torch.stack(losses).cpu().numpy()
        now, began = self._clock.seconds, self._lap
        self._lap = now
        self._clock.stop()
        part = np.arange(1, count + 1) / count  # within a window steps are taken as equally long
        share = (now - began) / len(self._live)
        sizes = np.full(count, size)
        sizes[-1] = min(size, x.shape[1] - (count - 1) * size)
        self._last = WindowFigures(
            self._columns, found, torch.stack(lrs).numpy(), sizes, epoch + 1,
            self._share + share * part, time.time() - (now - began) * (1 - part),
            {step: norm.cpu().numpy() for step, norm in norms.items()},
        )  # fmt: skip
        self._history.add(self._last)
        self._share += share

    def _step(
        self, x: Tensor, y: Tensor, lr: Float[Tensor, " A"], measure: bool
    ) -> tuple[Float[Tensor, " A"], Float[Tensor, " A"] | None]:
        outputs = self.model(x, self._noise.masks(x.shape[1], self._slots))
        loss = self._objective(outputs, y)
        found = torch.autograd.grad(loss.sum(), list(self.model.parameters.values()))
        with torch.no_grad():
            gradients, norm = self._objective.clipped(found, measure)
            self._rule.step(gradients, lr)
        return loss.detach(), norm

    def _rates(self) -> Float[Tensor, " A"]:
        return torch.tensor(self.tracks.rates(self._slots), dtype=torch.float64)

    # ---- how runs end

    def _end_lost(self, epoch: int) -> Iterator[Finished]:
        """End the runs whose loss stopped being finite in the last window."""
        losses, first = self._last.losses, self._history.steps - len(self._last.losses)
        if np.isfinite(losses).all():
            return
        for run in sorted(self._live):
            lost = np.flatnonzero(~np.isfinite(losses[:, self._columns[run]]))
            if len(lost):
                at = (int(lost[0]), self._columns[run])
                figures = {
                    "value": float(losses[at]), "step": first + at[0] + 1, "epoch": epoch + 1,
                    "lr": float(self._last.lrs[at]),
                }  # fmt: skip
                # the weights are those after the window, not after the lost step
                known = at[0] == len(losses) - 1
                yield self._finished(run, Ending(Reason.NON_FINITE, figures), epoch, known=known)

    def _reached_within(self) -> list[int]:
        """Measure full losses where they are due between epochs; return who reached its target."""
        every = self._full["every_n_steps"] if self._full else None
        if every is None or self._history.steps % every:
            return []
        values = dict(zip(self._slots, self.evaluator.full_losses(), strict=True))
        for run in self._live:
            self._history.full_within[run][self._history.steps] = values[run]
        step = self._history.steps
        return [run for run in sorted(self._live) if self._judge.target(run, values[run], step)]

    def _end_epoch(self, epoch: int, runs: list[int], in_epoch: int) -> Iterator[Finished]:
        """Validate, measure and record some runs, and end those whose time has come.

        Args:
            epoch: from 0.
            runs: for which it is over.
            in_epoch: steps taken of an epoch that is not done; 0 at its end.
        """
        self._now, step = time.time(), self._history.steps  # one time for all, as their steps have
        measured = {run: dict[str, float]() for run in runs}
        saved = {run: self._bests.of(run) for run in runs} if in_epoch else {}
        every = self.configs[0]["trainer"].get("check_val_every_n_epoch", 1)
        if self.evaluator.names("val") and (epoch + 1) % every == 0:
            for run, found in zip(self._slots, self.evaluator.metrics("val"), strict=True):
                if run in measured:
                    measured[run] |= found
        endings = self._measure_full(epoch, measured, in_epoch)
        for run in runs:
            self._note_epoch(run, epoch, measured[run])
            lr = self.tracks[run].lr
            grew = self._judge.grown(run, measured[run], step, epoch + 1, lr)
            if grew is not None:
                del measured[run]
                yield self._finished(run, grew, epoch, in_epoch)
        if not in_epoch:
            self.tracks.end_epoch(measured)
        for run, values in measured.items():
            early = self._judge.early(run, values, epoch)
            ending = endings.get(run) or early or self._judge.out_of_time(step, epoch + 1)
            if ending is not None:
                endings[run] = ending
        self._bests.offer(self._columns, measured, step, epoch + 1)
        ended = [run for run in measured if run in endings]
        tested = self._tested(ended)
        for run in ended:
            yield self._finished(
                run, endings[run], epoch + (not in_epoch), in_epoch, tested.get(run), saved.get(run)
            )

    def _measure_full(self, epoch: int, measured: Measured, in_epoch: int) -> dict[int, Ending]:
        """Add full losses where they are due; return the endings of runs that reached a target."""
        if self._full is None:
            return {}
        step, every = self._history.steps, self._full["every_n_steps"]
        limit = self._judge.out_of_time(step, epoch + 1) is not None
        within = every is not None and step % every == 0
        due = (epoch + 1) % self._full["every_n_epochs"] == 0 or limit or bool(in_epoch)
        if not due and not within:
            return {}
        endings = {}
        for run, value in zip(self._slots, self.evaluator.full_losses(), strict=True):
            if run not in measured:
                continue
            measured[run][FULL_LOSS] = value
            if within:
                self._history.full_within[run][step] = value
            ending = self._judge.target(run, value, step)
            if ending is not None:
                endings[run] = ending
        return endings

    def _note_epoch(self, run: int, epoch: int, measured: dict[str, float]) -> None:
        losses, rows = zip(*self._history.epoch_losses(run, epoch + 1), strict=True)
        values, weights = np.concatenate(losses).astype(np.float64), np.concatenate(rows)
        measured[RUNNING_LOSS] = float(np.dot(values, weights) / weights.sum())
        extra = {LR: float(self._last.lrs[-1, self._columns[run]])}
        norm = self._history.norm[run]
        if norm is not None:
            extra[GRAD_NORM] = norm
        self._add_row(run, epoch + 1, measured, extra)

    def _add_row(
        self, run: int, epoch: int, measured: Mapping[str, float], extra: Mapping[str, float]
    ) -> None:
        place = {"epoch": epoch, "step": self._history.steps, "samples": self._history.samples}
        row = {**place, "seconds": self._share, **measured, **extra, "time": self._now}
        self._history.epochs[run].append(row)

    def _tested(self, runs: list[int]) -> Measured:
        """Return the test metrics of some runs: by the weights of their best epochs, if any."""
        if not runs or not self.configs[0]["test"] or not self.evaluator.names("test"):
            return {}
        kept = [run for run in runs if self._bests.has(run)]
        found: Measured = {}
        if kept:
            metrics = self.evaluator.metrics("test", self._bests.weights(kept))
            found |= dict(zip(kept, metrics, strict=True))
        if len(kept) < len(runs):
            metrics = self.evaluator.metrics("test")
            found |= {r: metrics[self._columns[r]] for r in runs if r not in found}
        return found

    def _finished(
        self, run: int, ending: Ending, epoch: int, in_epoch: int = 0,
        tested: Mapping[str, float] | None = None, saved: Best | None = None, known: bool = True,
    ) -> Finished:  # fmt: skip
        """Take a run out of the stack, with all that its directory needs."""
        self._live.discard(run)
        slot, history = self._columns[run], self._history
        step, best = int(ending.figures.get("step", history.steps)), self._bests.of(run)
        end = None
        if known:
            rows = [t[slot : slot + 1] for t in self.model.parameters.values()]
            end = place(rows)[0].clone()
        return Finished(
            run=run, ending=ending, step=step, epoch=epoch, in_epoch=in_epoch,
            blocks=history.blocks(run, step), epochs=history.epochs[run],
            losses=history.epoch_losses(run, epoch + 1) if in_epoch else [],
            norm=history.norm[run], tested=tested or {}, best=best,
            saved=saved if in_epoch else best, weights=self.model.state_of(slot),
            optimizer={
                "state": self._rule.state(slot),
                "param_groups": [self.tracks[run].group_state(len(self.model.parameters))],
            },
            schedule=self.tracks[run].schedule_state(), rng=self._noise.state(run),
            divergence=self._judge.divergence_state(run), stopper=self._judge.stopper_state(run),
            path=self._paths.of(run, step, end),
        )  # fmt: skip

    def _compact(self) -> None:
        """Let go of the rows of runs that have ended."""
        if not self._live or len(self._live) == len(self._slots):
            return
        slots = [i for i, run in enumerate(self._slots) if run in self._live]
        kept = torch.tensor(slots, device=next(iter(self.model.parameters.values())).device)
        self.model.keep(kept)
        self._rule.keep(list(self.model.parameters.values()), kept)
        self._objective.keep(kept)
        self._slots = [self._slots[i] for i in slots]
        self._columns = {run: i for i, run in enumerate(self._slots)}
        self.windows.keep([self.configs[run]["seed"] for run in self._slots])
