"""R runs looked at from outside: losses, outputs and metrics over a split, in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from descent.data.own_metrics import OwnFormula
from descent.data.prepare import Description
from descent.data.scale import Scaler
from descent.engine.kernel import Kernel
from descent.engine.losses import Criterion
from descent.metrics import METRICS, Formula, Metric, classes, of_task
from descent.shapes import Float, Shaped

if TYPE_CHECKING:
    from descent.engine.own_kernel import OwnKernel


class Scores:
    """The metrics of a split, of every run at once.

    Args:
        data: the task and the target's scale.
        y: targets [n, ...] of the split.
    """

    def __init__(self, data: Description, y: Float[Tensor, "n ..."]) -> None:
        self.data = data
        self._metrics = of_task(data.task, len(y), data.metrics)
        wanted = y.double()
        self._wanted = (
            wanted.reshape(-1).long() if data.task.is_classification else self._unscaled(wanted)
        )
        self._formulas = [(m.name, *_formula(m, data)) for m in self._metrics]

    @property
    def names(self) -> list[str]:
        """The metrics there are, after the loss."""
        return [metric.name for metric in self._metrics]

    def __call__(
        self, outputs: Float[Tensor, "R n C"], thresholds: Float[Tensor, " R"] | None = None
    ) -> dict[str, Float[Tensor, " R"]]:
        """Return each metric of every run.

        Args:
            outputs: of each run.
            thresholds: of each run, above which the second of two classes is predicted; None for a
                half.
        """
        shown = decided = outputs.double()
        if not self.data.task.is_classification:
            shown = self._unscaled(shown)
        elif thresholds is not None:  # a half is a logit of 0
            decided = shown - thresholds.to(shown).logit()[:, None, None]
        return {
            name: formula(decided if decides else shown, self._wanted)
            for name, formula, decides in self._formulas
        }

    def best_thresholds(self, outputs: Float[Tensor, "R n 1"], name: str) -> Float[Tensor, " R"]:
        """Return the threshold of each run at which a metric is best on these rows.

        Candidates lie halfway between neighbouring probabilities, and beyond them all; of equally
        good ones the nearest to a half is taken.
        """
        formula, found = METRICS[name].formula, []
        assert formula is not None
        for logits in outputs[..., 0].double():
            p = logits.sigmoid().unique()
            ends = torch.stack([p[0] / 2, (1 + p[-1]) / 2, p.new_tensor(0.5)])
            between = torch.cat([(p[1:] + p[:-1]) / 2, ends])
            if len(between) > MOST_CANDIDATES:
                between = between[:: -(-len(between) // MOST_CANDIDATES)]
            shifted = logits[None, :, None] - between.logit()[:, None, None]
            values = formula(shifted, self._wanted)
            best = between[values == values.max()]
            found.append(best[(best - 0.5).abs().argmin()])
        return torch.stack(found)

    def _unscaled(self, values: Tensor) -> Tensor:
        return unscaled(values, self.data.target_scaler)


def _formula(metric: Metric, data: Description) -> tuple[Formula, bool]:
    """Return how a metric is computed, and whether of the predicted classes alone."""
    if metric.node is None:
        assert metric.formula is not None
        return metric.formula, metric.decides
    own = OwnFormula(metric.name, metric.node, data.task, data.outputs)
    return own, own.decides


def unscaled(values: Shaped[Tensor, ...], scaler: Scaler) -> Shaped[Tensor, ...]:
    """Return targets or outputs [..., C] in the units they had before they were scaled."""
    linear = values * values.new_tensor(scaler.scale) + values.new_tensor(scaler.offset)
    return linear.exp() if scaler.log else linear


Metrics = dict[str, Float[np.ndarray, " A"]]  # by name
MOST_CANDIDATES = 2000  # thresholds that are tried


class Evaluator:
    """Evaluates runs piece by piece, or from pieces that somebody else evaluated.

    Args:
        data: the task and the target's scale.
        rows: how many each split holds; splits with none get no metrics.
        criterion: the loss.
    """

    def __init__(self, data: Description, rows: Mapping[str, int], criterion: Criterion) -> None:
        self.data, self.rows, self.criterion = data, rows, criterion
        # of each run, or of all; None for a half
        self.thresholds: Tensor | None = None
        if isinstance(data.threshold, float) and data.threshold != 0.5:
            self.thresholds = torch.tensor([data.threshold], dtype=torch.float64)
        self.own: OwnKernel | None = None  # whose learner evaluates itself as well
        self.lone: list[int | None] = []  # the class that a run predicts for every row, if it does
        self._scores: dict[str, Scores] = {}
        self._pieces: list[tuple[Tensor, Tensor, Tensor]] = []

    @torch.no_grad()
    def choose(
        self, kernel: Kernel, x: Float[Tensor, "n F"], y: Tensor,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Float[Tensor, " A"]:  # fmt: skip
        """Return each run's threshold by the metric that the data name."""
        size = kernel.piece(x)
        outputs = torch.cat([kernel.outputs(xb, weights).cpu() for xb in x.split(size)], dim=1)
        scores = Scores(self.data, self.criterion.targets(y).cpu())
        return scores.best_thresholds(outputs, str(self.data.threshold))

    def names(self, split: str) -> list[str]:
        """Return the metrics of `val` or `test`, loss first; none if the split has no rows."""
        if not self.rows[split]:
            return []
        names = [
            metric.name for metric in of_task(self.data.task, self.rows[split], self.data.metrics)
        ]
        own = self.own.names[split] if self.own is not None else ()
        return [*(f"{split}/{name}" for name in ("loss", *names)), *own]

    @torch.no_grad()
    def losses(self, kernel: Kernel, x: Float[Tensor, "n F"], y: Tensor) -> Float[Tensor, " A"]:
        """Return each run's mean loss, in float64 on the CPU."""
        size = kernel.piece(x)
        pieces = zip(x.split(size), y.split(size), strict=True)
        return _total([self._loss(kernel.outputs(xb), yb) for xb, yb in pieces]) / len(x)

    def _loss(self, outputs: Float[Tensor, "A n C"], y: Tensor) -> Float[Tensor, " A"]:
        """Return each run's sum of a piece's losses."""
        # summed on the host: pieces are few, and not every device knows float64
        wanted = y.expand(len(outputs), *y.shape)
        return self.criterion.each(outputs, wanted).cpu().double() * len(y)

    @torch.no_grad()
    def metrics(
        self, kernel: Kernel, split: str, x: Float[Tensor, "n F"], y: Tensor,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Metrics:  # fmt: skip
        """Return each run's metrics of a split, at other weights [r, ...] if they are given."""
        size = kernel.piece(x)
        for xb, yb in zip(x.split(size), y.split(size), strict=True):
            self.add(kernel.outputs(xb, weights), yb)
        if split not in self._scores:
            self._scores[split] = Scores(self.data, self.criterion.targets(y).cpu())
        return self.take(split, self._scores[split], (x, y), weights)

    def add(self, outputs: Float[Tensor, "A n C"], y: Tensor) -> None:
        """Take a piece of a split."""
        self._pieces.append((self._loss(outputs, y), outputs.cpu(), y))

    def take(
        self, split: str, scores: Scores | None = None, rows: tuple[Tensor, Tensor] | None = None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Metrics:  # fmt: skip
        """Return the metrics of the pieces taken, and begin anew.

        Args:
            split: that they are of.
            scores: of it, if they are made.
            rows: all of it, for a learner that evaluates itself as well.
            weights: to do so at, if not the run's own.
        """
        pieces, self._pieces = self._pieces, []
        losses, outputs, targets = zip(*pieces, strict=True)
        if scores is None:
            wanted = self.criterion.targets(torch.cat(targets))
            scores = Scores(self.data, wanted.cpu())
        made = torch.cat(outputs, dim=1)
        loss = _total(losses) / sum(map(len, targets))
        found = {"loss": loss, **scores(made, self.thresholds)}
        self.lone = self._lone(made)
        own = {} if self.own is None or rows is None else self.own.figures(split, *rows, weights)
        return {f"{split}/{name}": values.numpy() for name, values in found.items()} | own

    def _lone(self, outputs: Float[Tensor, "A n C"]) -> list[int | None]:
        """Return the class that a run predicts for every one of several rows; None for more."""
        if not self.data.task.is_classification or outputs.shape[1] < 2:
            return [None] * len(outputs)
        if self.thresholds is not None:
            outputs = outputs - self.thresholds.to(outputs).logit()[:, None, None]
        chosen = classes(outputs)
        same = (chosen == chosen[:, :1]).all(dim=1).tolist()
        first = chosen[:, 0].tolist()
        return [k if one else None for k, one in zip(first, same, strict=True)]


def _total(terms: Sequence[Tensor]) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for term in terms:
        total = total + term
    return total
