"""R runs in lockstep: the window loop, and each run's own end.

Order of events, figures and endings are those of a single run (`learner.py` and its callbacks);
tests hold the two against each other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from descent.blueprint import build_model
from descent.clock import Clock
from descent.data.augment import Augment
from descent.data.prepare import Description, Prepared
from descent.data.tensors import DTYPES, split_tensors
from descent.data.windows import Windows
from descent.endings import Ending, Reason, Status
from descent.recording.axes import FULL_LOSS, GRAD_NORM, LR, RUNNING_LOSS
from descent.recording.path import Trajectory
from descent.shapes import Float
from descent.stack.batches import StackedWindows
from descent.stack.history import History, Paths, WindowFigures, place
from descent.stack.noise import Noise
from descent.stack.rules import RULES, spread
from descent.stack.scoring import StackedScores, stacked_loss, stacked_penalty
from descent.stack.stacking import StackedModel
from descent.stack.stopping import Stopper
from descent.stack.tracks import Tracks

Config = Mapping[str, Any]
EVALUATED = 2**22  # numbers in the widest layer while a split is evaluated
EPSILON = 1e-6  # of torch.nn.utils.clip_grad_norm_


@dataclass
class Best:
    """The figures of a run's best epoch; its weights are kept in the stack."""

    value: float
    step: int
    epoch: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Finished:
    """A run that has ended, with all that its directory holds.

    Args:
        run: its number in the stack.
        ending: why.
        step, epoch, samples, seconds: where it stood; epochs whole ones, seconds its share.
        in_epoch: steps into an epoch that it did not finish; 0 at an epoch's end.
        tested: test metrics.
        best: its best epoch, and its weights then.
        weights: as they are at the end.
        optimizer, schedule: their states, for a checkpoint.
        rng: of the noise stream.
        start: full loss before training, and the strikes of the divergence check.
        stopper: key and state of early stopping, if there is any.
        path: as recorded.
    """

    run: int
    ending: Ending
    step: int
    epoch: int
    samples: int
    seconds: float
    in_epoch: int
    tested: dict[str, float]
    best: Best | None
    best_weights: dict[str, Tensor] | None
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    rng: Tensor
    start: tuple[float | None, int]
    stopper: tuple[str, dict[str, Any]] | None
    path: Trajectory | None


class Stack:
    """Runs that differ only in numbers, trained as one program.

    Args:
        configs: of each run; runs of one seed are neighbours.
        prepared: the data of all.
        device: where to train.
    """

    def __init__(self, configs: Sequence[Config], prepared: Prepared, device: torch.device) -> None:
        self.configs, first = configs, configs[0]
        self.data = Description.from_dict(prepared.describe())
        dtype = DTYPES.get(first["trainer"]["precision"], torch.float32)
        image, options = prepared.arrays.image, first["data"]
        change = None
        if image is not None and any(options["augment"].values()):
            change = Augment(image, prepared.scaler, **options["augment"])
        self.tensors = {
            name: split_tensors(prepared, name, device, dtype) for name in ("val", "test", "train")
        }
        self.model = StackedModel([build_model(config, self.data).to(device) for config in configs])
        self.rule = RULES[first["optimizer"]["_target_"]](
            list(self.model.parameters.values()), [_numbers(c["optimizer"]) for c in configs]
        )
        self.tracks = Tracks(configs, self.data)
        self.noise = Noise([c["seed"] for c in configs], self.model)
        full = options["order"] == "sequential" or (
            options["order"] == "shuffle" and prepared.batch_size >= self.data.rows["train"]
        )
        callbacks = {name: node or {} for name, node in first["callbacks"].items()}
        every = (callbacks.get("full_loss") or {}).get("every_n_steps")

        def windows(seed: int) -> Windows:
            return Windows(
                *self.tensors["train"], batch_size=prepared.batch_size, order=options["order"],
                drop_last=options["drop_last"], steps=options["window"], seed=seed, cut=every,
                augment=change,
            )  # fmt: skip

        self.windows = StackedWindows(
            windows, [c["seed"] for c in configs], shared=full and change is None
        )
        self.scores = {
            name: StackedScores(self.data, self.tensors[name][1])
            for name in ("val", "test") if self.data.rows[name]
        }  # fmt: skip
        self.history = History(len(configs))
        self._read_callbacks(callbacks)
        self._slots = list(range(len(configs)))  # the run in each row of the tensors
        self._columns = {run: i for i, run in enumerate(self._slots)}
        self._live = set(self._slots)
        self._pull_numbers(dtype, device)
        self._clock, self._lap, self._share = Clock(), 0.0, 0.0
        self._starts: list[float | None] = [None] * len(configs)
        self._strikes = [0] * len(configs)
        self._best: list[Best | None] = [None] * len(configs)
        self._best_weights: dict[str, Tensor] = {}

    def _read_callbacks(self, callbacks: Mapping[str, Any]) -> None:
        first = self.configs[0]
        self._norm_every = callbacks["recorder"]["grad_norm_every"]
        self._full = callbacks.get("full_loss") or None
        self._divergence = callbacks["divergence"]
        self._checkpoint = callbacks.get("checkpoint") or None
        stopping = callbacks.get("early_stopping") or None
        self._stoppers = [Stopper(stopping) if stopping else None for _ in self.configs]
        options = callbacks.get("path") or {"points": 0, "most_mib": 0.0}
        shapes = {n: tuple(t.shape[1:]) for n, t in self.model.parameters.items()}
        item = next(iter(self.model.parameters.values())).element_size()
        self._paths = Paths(shapes, options["points"], options["most_mib"], item)
        self._val_every = first["trainer"]["check_val_every_n_epoch"]
        stop = first["stop"]
        self._max_epochs = math.inf if stop["epochs"] is None else stop["epochs"]
        self._max_steps = math.inf if stop["steps"] is None else stop["steps"]
        self._targets = [config["stop"]["loss"] for config in self.configs]

    def _pull_numbers(self, dtype: torch.dtype, device: torch.device) -> None:
        """Make vectors [R] of the numbers that the loss and the gradient need."""

        def vector(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        def limits(name: str) -> Tensor | None:
            values = [c["clip"][name] for c in self.configs]
            if all(value is None for value in values):
                return None
            return vector([math.inf if value is None else value for value in values])

        self._l1 = vector([c["penalty"]["l1"] for c in self.configs])
        self._l2 = vector([c["penalty"]["l2"] for c in self.configs])
        self._clip_norm, self._clip_value = limits("norm"), limits("value")
        self._penalizes = bool(self.model.penalized) and bool((self._l1 + self._l2 > 0).any())

    # ---- the loop

    def train(self, tick: Callable[[int], None] = lambda steps: None) -> Iterator[Finished]:
        """Train all runs; yield each when it has ended.

        Args:
            tick: called after each window with the steps taken, over all runs.
        """
        self._measure_start()
        self._paths.watch(0, self._columns, list(self.model.parameters.values()))
        epoch = 0
        while self._live:
            in_epoch, per_epoch = 0, self.windows.first.steps_per_epoch
            for x, y in self.windows.epoch(epoch):
                count = min(-(-x.shape[1] // self.windows.first.batch_size),
                            self._max_steps - self.history.steps)  # fmt: skip
                self._window(x, y, int(count), epoch)
                tick(int(count) * len(self._live))
                in_epoch += int(count)
                yield from self._end_lost(epoch)
                stops = self._measure_within(epoch) if in_epoch < per_epoch else []
                out_of_steps = self.history.steps >= self._max_steps
                if in_epoch < per_epoch and (stops or out_of_steps):
                    ended = sorted(self._live) if out_of_steps else stops
                    yield from self._end_epoch(epoch, ended, in_epoch)
                if not self._live or out_of_steps:
                    break
            if self._live and in_epoch == per_epoch:
                yield from self._end_epoch(epoch, sorted(self._live), 0)
            epoch += 1
            self._compact()

    def _window(self, x: Tensor, y: Tensor, count: int, epoch: int) -> None:
        """Take a window's steps."""
        self._clock.start()
        self.model.train(True)
        size, runs = self.windows.first.batch_size, self._slots
        parameters = list(self.model.parameters.values())
        lr, per_step = self._rates(runs), self.tracks.per_step(runs)
        losses, lrs, norms = [], [], {}
        first = self.history.steps
        for k in range(count):
            step = first + k + 1
            rows = slice(k * size, (k + 1) * size)
            measure = self._norm_every > 0 and step % self._norm_every == 0
            loss, norm = self._step(x[:, rows], y[:, rows], lr, parameters, measure)
            losses.append(loss)
            lrs.append(lr)
            if norm is not None:
                norms[step] = norm
            self._paths.watch(step, self._columns, parameters)
            if per_step:
                self.tracks.step("step", runs)
                lr = self._rates(runs)
        found = torch.stack(losses).cpu().numpy()
        now = self._clock.seconds
        self._record(found, torch.stack(lrs).numpy(), norms, x.shape[1], now - self._lap, epoch)
        self._lap = now
        self._clock.stop()

    def _step(
        self, x: Tensor, y: Tensor, lr: Tensor, parameters: list[Tensor], measure: bool
    ) -> tuple[Float[Tensor, " A"], Float[Tensor, " A"] | None]:
        loss = self._objective(self.model(x, self.noise.masks(x.shape[1], self._slots)), y)
        gradients = list(torch.autograd.grad(loss.sum(), parameters))
        with torch.no_grad():
            norm = _norms(gradients) if measure or self._clip_norm is not None else None
            if self._clip_norm is not None and norm is not None:
                shrink = (self._clip_norm / (norm + EPSILON)).clamp(max=1.0)
                gradients = [g * spread(shrink, g) for g in gradients]
            if self._clip_value is not None:
                limits = [spread(self._clip_value, g) for g in gradients]
                gradients = [
                    g.clamp(-most, most) for g, most in zip(gradients, limits, strict=True)
                ]
            self.rule.step([g.contiguous() for g in gradients], lr)
        return loss.detach(), norm if measure else None

    def _objective(self, outputs: Float[Tensor, "A B C"], y: Tensor) -> Float[Tensor, " A"]:
        loss = stacked_loss(self.data.task, outputs, y)
        if self._penalizes:
            weights = [self.model.parameters[name] for name in self.model.penalized]
            loss = loss + stacked_penalty(weights, self._l1, self._l2)
        return loss

    def _rates(self, runs: Sequence[int]) -> Tensor:
        return torch.tensor(self.tracks.rates(runs), dtype=torch.float64)

    def _record(
        self, losses: np.ndarray, lrs: np.ndarray, norms: dict[int, Tensor], rows: int,
        seconds: float, epoch: int,
    ) -> None:  # fmt: skip
        count = len(losses)
        part = np.arange(1, count + 1) / count  # within a window steps are taken as equally long
        share = seconds / max(1, len(self._live))
        sizes = np.full(count, self.windows.first.batch_size)
        sizes[-1] = min(sizes[-1], rows - (count - 1) * sizes[-1])
        self.history.add(
            WindowFigures(
                self._columns, losses, lrs, sizes, epoch + 1, self._share + share * part,
                time.time() - seconds * (1 - part),
                {step: norm.cpu().numpy() for step, norm in norms.items()},
            )
        )  # fmt: skip
        self._share += share
        self._last = (losses, lrs)

    # ---- how runs end

    def _end_lost(self, epoch: int) -> Iterator[Finished]:
        """End the runs whose loss stopped being finite in the last window."""
        losses, lrs = self._last
        count = len(losses)
        for run in sorted(self._live):
            column = losses[:, self._columns[run]]
            lost = np.flatnonzero(~np.isfinite(column))
            if not len(lost):
                continue
            at = int(lost[0])
            figures = {
                "value": float(column[at]), "step": self.history.steps - count + at + 1,
                "epoch": epoch + 1, "lr": float(lrs[at, self._columns[run]]),
            }  # fmt: skip
            # the weights are those after the window; only its last step's are known to be meant
            yield self._finished(run, Ending(Reason.NON_FINITE, figures), epoch, 0, at == count - 1)

    def _measure_start(self) -> None:
        if self._full is not None:
            for run, value in self._full_losses().items():
                self._starts[run] = value
                self._add_row(run, 0, {FULL_LOSS: value}, {})

    def _measure_within(self, epoch: int) -> list[int]:
        """Measure full losses where they are due between epochs; return who reached its target."""
        every: int | None = self._full and self._full["every_n_steps"]
        if not every or self.history.steps % every:
            return []
        found = self._full_losses()
        for run in self._live:
            self.history.full_within[run][self.history.steps] = found[run]
        return [run for run in sorted(self._live) if self._reached(run, found[run])]

    def _reached(self, run: int, value: float) -> bool:
        target = self._targets[run]
        return target is not None and value <= target

    def _end_epoch(self, epoch: int, runs: list[int], in_epoch: int) -> Iterator[Finished]:
        """Validate, measure and record some runs, and end those whose time has come.

        Args:
            epoch: from 0.
            runs: for which it is over.
            in_epoch: steps taken of an epoch that is not done; 0 at its end.
        """
        measured: dict[int, dict[str, float]] = {run: {} for run in runs}
        if "val" in self.scores and (epoch + 1) % self._val_every == 0:
            for run, found in self._evaluate("val", runs, best=False).items():
                measured[run] |= found
        limit = self.history.steps >= self._max_steps or epoch + 1 >= self._max_epochs
        due = self._full and ((epoch + 1) % self._full["every_n_epochs"] == 0 or limit or in_epoch)
        every: int | None = self._full and self._full["every_n_steps"]
        within = every is not None and self.history.steps % every == 0
        endings: dict[int, Ending] = {}
        if due or within:
            known = self._full_losses()
            for run in runs:
                measured[run][FULL_LOSS] = known[run]
                if within and not in_epoch:
                    self.history.full_within[run][self.history.steps] = known[run]
                if self._reached(run, known[run]):
                    figures = {"value": known[run], "target": self._targets[run],
                               "step": self.history.steps}  # fmt: skip
                    endings[run] = Ending(Reason.TARGET, figures)
        rates = dict(zip(self._slots, self._last[1][-1], strict=True))
        for run in runs:
            self._note_epoch(run, epoch, measured[run], float(rates[run]))
            grew = self._grown(run, epoch, measured[run])
            if grew is not None:
                yield self._finished(run, grew, epoch, in_epoch, True)
        runs = [run for run in runs if run in self._live]
        if not in_epoch:
            self._step_schedules(runs, measured)
        ended = []
        for run in runs:
            stopper = self._stoppers[run]
            early = (
                stopper is not None and stopper.monitor in measured[run]
                and stopper.stops(measured[run][stopper.monitor], epoch)
            )  # fmt: skip
            self._keep_if_best(run, epoch, measured[run])
            ending = endings.get(run) or (self._stopped(stopper) if early and stopper else None)
            ending = ending or self._out_of_time(epoch)
            if ending is not None:
                ended.append((run, ending))
        tested = self._tested([run for run, _ in ended])
        for run, ending in ended:
            done = epoch if in_epoch else epoch + 1
            yield self._finished(run, ending, done, in_epoch, True, tested.get(run))

    def _note_epoch(self, run: int, epoch: int, measured: dict[str, float], lr: float) -> None:
        losses, rows = zip(*self.history.epoch_losses(run, epoch + 1), strict=True)
        every = np.concatenate(losses).astype(np.float64)
        weights = np.concatenate(rows)
        measured[RUNNING_LOSS] = float(np.dot(every, weights) / weights.sum())
        extra = {LR: lr}
        norm = self.history.norm[run]
        if norm is not None:
            extra[GRAD_NORM] = norm
        self._add_row(run, epoch + 1, measured, extra)

    def _add_row(
        self, run: int, epoch: int, measured: dict[str, float], extra: dict[str, float]
    ) -> None:
        self.history.epochs[run].append(
            {
                "epoch": epoch, "step": self.history.steps, "samples": self.history.samples,
                "seconds": self._share, **measured, **extra, "time": time.time(),
            }
        )  # fmt: skip

    def _grown(self, run: int, epoch: int, measured: Mapping[str, float]) -> Ending | None:
        """Count a strike against a run whose full loss is far above its start."""
        value, start = measured.get(FULL_LOSS), self._starts[run]
        if value is None or start is None:
            return None
        factor, checks = self._divergence["factor"], self._divergence["checks"]
        lost = not math.isfinite(value) or value > factor * abs(start)
        self._strikes[run] = self._strikes[run] + 1 if lost else 0
        if self._strikes[run] < checks:
            return None
        figures = {
            "value": value, "start": start, "factor": factor, "checks": checks,
            "step": self.history.steps, "epoch": epoch + 1, "lr": self.tracks[run].lr,
        }  # fmt: skip
        return Ending(Reason.LOSS_GREW, figures)

    def _step_schedules(self, runs: list[int], measured: Mapping[int, Mapping[str, float]]) -> None:
        self.tracks.step("epoch", runs)
        for run in runs:
            track = self.tracks[run]
            value = measured[run].get(track.monitor or "")
            if track.watches and value is not None:
                track.step(float(np.float32(value)))  # as Lightning keeps logged metrics

    def _keep_if_best(self, run: int, epoch: int, measured: dict[str, float]) -> None:
        options = self._checkpoint
        value = measured.get(options["monitor"]) if options else None
        if options is None or value is None or math.isnan(value):
            return
        sign, best = (1 if options["mode"] == "min" else -1), self._best[run]
        if best is None or sign * value < sign * best.value:
            self._best[run] = Best(value, self.history.steps, epoch + 1, dict(measured))
            slot = self._columns[run]
            with torch.no_grad():
                for name, t in {**self.model.parameters, **self.model.constants}.items():
                    kept = self._best_weights.setdefault(
                        name, torch.empty((len(self.configs), *t.shape[1:]), dtype=t.dtype,
                                          device=t.device)
                    )  # fmt: skip
                    kept[run] = t[slot]

    def _stopped(self, stopper: Stopper) -> Ending:
        figures = {"monitor": stopper.monitor, "patience": stopper.patience}
        return Ending(Reason.EARLY_STOPPING, figures)

    def _out_of_time(self, epoch: int) -> Ending | None:
        if self.history.steps >= self._max_steps:
            return Ending(Reason.STEPS, {"steps": self.history.steps})
        if epoch + 1 >= self._max_epochs:
            return Ending(Reason.EPOCHS, {"epochs": self._max_epochs})
        return None

    def _finished(
        self, run: int, ending: Ending, epoch: int, in_epoch: int, end_known: bool,
        tested: dict[str, float] | None = None,
    ) -> Finished:  # fmt: skip
        """Take a run out of the stack, with all that its directory needs."""
        self._live.discard(run)
        slot, track, stopper = self._columns[run], self.tracks[run], self._stoppers[run]
        step = int(ending.figures.get("step", self.history.steps))
        parameters = [t[slot : slot + 1] for t in self.model.parameters.values()]
        path = self._paths.of(run, step, place(parameters)[0].clone() if end_known else None)
        weights = None
        if self._best[run] is not None:
            weights = {n: self._best_weights[n][run].cpu() for n in self.model.names}
        blocks = self.history.blocks(run, step)
        return Finished(
            run=run, ending=ending, step=step, epoch=epoch, in_epoch=in_epoch,
            samples=int(blocks[-1].samples[-1]) if blocks else 0,
            seconds=float(blocks[-1].seconds[-1]) if blocks else 0.0,
            tested=tested or {}, best=self._best[run], best_weights=weights,
            weights={n: t.cpu() for n, t in self.model.state_of(run=slot).items()},
            optimizer={
                "state": self.rule.state(slot),
                "param_groups": [track.group_state(len(self.model.parameters))],
            },
            schedule=track.schedule_state(), rng=self.noise.state(run),
            start=(self._starts[run], self._strikes[run]),
            stopper=stopper.state() if stopper else None, path=path,
        )  # fmt: skip

    def _compact(self) -> None:
        """Let go of the rows of runs that have ended."""
        if not self._live or len(self._live) == len(self._slots):
            return
        slots = [i for i, run in enumerate(self._slots) if run in self._live]
        kept = torch.tensor(slots, device=self._l1.device)
        self.model.keep(kept)
        self.rule.keep(list(self.model.parameters.values()), kept)
        self._slots = [self._slots[i] for i in slots]
        self._columns = {run: i for i, run in enumerate(self._slots)}
        self.windows.keep([self.configs[run]["seed"] for run in self._slots])
        for name in ("_l1", "_l2", "_clip_norm", "_clip_value"):
            vector = getattr(self, name)
            setattr(self, name, None if vector is None else vector[kept])

    # ---- evaluation

    @torch.no_grad()
    def _full_losses(self) -> dict[int, float]:
        """Return L(theta) of every run, penalties included."""
        x, y = self.tensors["train"]
        total = self._split_loss(x, y, None)[0]
        if self._penalizes:
            weights = [self.model.parameters[name] for name in self.model.penalized]
            total = total + stacked_penalty(weights, self._l1, self._l2).double()
        return dict(zip(self._slots, total.tolist(), strict=True))

    @torch.no_grad()
    def _split_loss(
        self, x: Tensor, y: Tensor, parameters: dict[str, Tensor] | None
    ) -> tuple[Float[Tensor, " A"], Float[Tensor, "A n C"]]:
        """Return the mean loss of each run over some rows, and all outputs."""
        self.model.train(False)
        widest = max(x.shape[1], *(p.shape[1] for p in self.model.parameters.values()))
        piece = max(64, EVALUATED // (len(self._slots) * widest))
        total, outputs = torch.zeros((), dtype=torch.float64), []
        for at in range(0, len(x), piece):
            xb, yb = x[at : at + piece], y[at : at + piece]
            outputs.append(self.model(xb.unsqueeze(0), parameters=parameters))
            loss = stacked_loss(self.data.task, outputs[-1], yb.unsqueeze(0))
            total = total + loss.double().cpu() * len(xb)
        return total / len(x), torch.cat(outputs, dim=1)

    def _evaluate(self, split: str, runs: Sequence[int], best: bool) -> dict[int, dict[str, float]]:
        """Return the metrics of some runs, by the weights of their best epochs if asked."""
        rows = torch.tensor(
            [run if best else self._columns[run] for run in runs], device=self._l1.device
        )
        source = self._best_weights if best else {**self.model.parameters, **self.model.constants}
        everyone = not best and len(rows) == len(self._slots)
        own = source if everyone else {n: t.detach()[rows] for n, t in source.items()}
        loss, outputs = self._split_loss(*self.tensors[split], own)
        found = {"loss": loss, **self.scores[split](outputs)}
        return {
            run: {f"{split}/{name}": float(values[i]) for name, values in found.items()}
            for i, run in enumerate(runs)
        }

    def _tested(self, runs: list[int]) -> dict[int, dict[str, float]]:
        if not runs or not self.configs[0]["test"] or "test" not in self.scores:
            return {}
        found: dict[int, dict[str, float]] = {}
        kept = [run for run in runs if self._best[run] is not None]
        for group, best in ((kept, True), ([r for r in runs if r not in kept], False)):
            if group:
                found |= self._evaluate("test", group, best)
        return found


def _numbers(options: Config) -> dict[str, Any]:
    return {k: v for k, v in options.items() if not k.startswith("_") and k != "lr"}


def _norms(gradients: Sequence[Float[Tensor, "A ..."]]) -> Float[Tensor, " A"]:
    """Return each run's 2-norm of all gradients together."""
    return torch.stack([g.flatten(1).square().sum(dim=1) for g in gradients]).sum(dim=0).sqrt()


__all__ = ["Best", "Finished", "Stack", "Status"]
