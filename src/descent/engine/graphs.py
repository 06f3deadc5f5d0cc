"""Steps of a stack replayed as CUDA graphs: one launch for what else is dozens.

A graph repeats its kernels on the same memory with the same plain numbers. So the batch, the lr and
the masks are copied into tensors of its own; what counts steps counts on the device (`UpdateRule`'s
clock); batches of another size, and steps whose gradient is measured, have graphs of their own; and
all are captured anew when runs have gone, since weights then lie elsewhere.

The first steps of each kind are taken as they are, as torch asks for: they make what is kept from
step to step. The next is taken both ways, and graphs are used only where both agree.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from descent.engine.stacked_optim import UpdateRule
from descent.errors import UserError, first_line

log = logging.getLogger(__name__)

Outcome = tuple[Tensor, Tensor | None]  # losses, norms
# (x, y, lr, masks, measure) -> losses and norms
Take = Callable[[Tensor, Tensor, Tensor, Mapping[str, Tensor], bool], Outcome]
# of what is to be captured: what replays it, and where its outcome is found after each time
Capture = Callable[[Callable[[], Outcome]], tuple[Callable[[], object], Outcome]]
PRECISIONS = ("32-true", "64-true")  # with which they are replayed
WARM_UP = 3  # steps of each kind before one is captured
# Of a tensor's largest value: replayed kernels are the same, but some of CUDA's sum in any order.
AGREES = {torch.float64: 1e-10, torch.float32: 1e-4}


def captured(body: Callable[[], Outcome]) -> tuple[Callable[[], object], Outcome]:
    """Capture what CUDA is asked to do; none of it is done yet."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outcome = body()
    return graph.replay, outcome


@dataclass(frozen=True)
class Inputs:
    """What a step reads."""

    x: Tensor
    y: Tensor
    lr: Tensor
    masks: Mapping[str, Tensor]

    def copied(self) -> Inputs:
        """Return the same in tensors of its own."""
        masks = {name: mask.clone() for name, mask in self.masks.items()}
        return Inputs(self.x.clone(), self.y.clone(), self.lr.clone(), masks)

    def fill(self, given: Inputs) -> None:
        """Take the values of others."""
        for own, other in ((self.x, given.x), (self.y, given.y), (self.lr, given.lr)):
            own.copy_(other)
        for name, mask in given.masks.items():
            self.masks[name].copy_(mask)


@dataclass(frozen=True)
class Graph:
    """A captured step: what it reads, and where its outcome is found."""

    own: Inputs
    replay: Callable[[], object]
    outcome: Outcome

    def __call__(self, given: Inputs) -> Outcome:
        """Take the step; the outcome is copied, since the next step writes to the same place."""
        self.own.fill(given)
        self.replay()
        losses, norms = self.outcome
        return losses.clone(), None if norms is None else norms.clone()


class StepGraphs:
    """The graphs of a stack's steps.

    Args:
        take: takes a step, on the device where all that it reads lies.
        rule: of the optimizer, which knows what a step changes.
        capture: `captured`, or what stands for it where there is no GPU.
    """

    def __init__(self, take: Take, rule: UpdateRule, capture: Capture = captured) -> None:
        self._take, self._rule, self._capture = take, rule, capture
        rule.count_on_device()
        self._graphs: dict[tuple[object, ...], Graph] = {}
        self._warm: dict[tuple[object, ...], int] = {}
        self._said = False
        self.given_up = False

    def forget(self) -> None:
        """Capture anew: tensors lie elsewhere from now on."""
        self._graphs, self._warm = {}, {}

    def step(
        self, x: Tensor, y: Tensor, lr: Tensor, masks: Mapping[str, Tensor], measure: bool
    ) -> Outcome:
        """Take a step; return losses and norms."""
        kind, given = (tuple(x.shape), tuple(y.shape), measure), Inputs(x, y, lr, masks)
        graph = self._graphs.get(kind)
        if graph is not None:
            self._rule.steps += 1  # its clock is in the graph
            return graph(given)
        self._warm[kind] = self._warm.get(kind, 0) + 1
        if self.given_up or self._warm[kind] <= WARM_UP:
            return self._taken(given, measure)
        return self._both(kind, given, measure)

    def _both(self, kind: tuple[object, ...], given: Inputs, measure: bool) -> Outcome:
        """Take a step by a graph, and once more as it is, which counts; keep the graph if equal."""
        before, steps = self._state(), self._rule.steps
        replayed: list[Tensor | None] = []
        try:
            own = given.copied()
            replay, outcome = self._capture(lambda: self._taken(own, measure))
            self._put_back(before, steps)
            graph = Graph(own, replay, outcome)
            replayed = [*graph(given), *self._state()]
        except RuntimeError as error:  # what CUDA says to what it cannot capture
            self._give_up(first_line(error))
        self._put_back(before, steps)
        made = self._taken(given, measure)
        if replayed and not all(map(_agree, replayed, [*made, *self._state()])):
            self._give_up("a replayed step was not the step itself")
        if not self.given_up:
            self._graphs[kind] = graph
            if not self._said:
                log.info("graphs    steps are replayed as CUDA graphs")
            self._said = True
        return made

    def _taken(self, given: Inputs, measure: bool) -> Outcome:
        return self._take(given.x, given.y, given.lr, given.masks, measure)

    def _state(self) -> list[Tensor]:
        return [t.detach().clone() for t in self._rule.changing()]

    def _put_back(self, before: Sequence[Tensor], steps: int) -> None:
        self._rule.steps = steps
        with torch.no_grad():
            for t, value in zip(self._rule.changing(), before, strict=True):
                t.copy_(value)

    def _give_up(self, why: str) -> None:
        self.forget()
        self.given_up = True
        log.info("graphs    none: %s; steps are launched one by one", why)


def _agree(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    bound = AGREES.get(one.dtype, AGREES[torch.float32])
    largest = float(other.abs().nan_to_num(0.0, 0.0, 0.0).max()) if other.numel() else 0.0
    return bool(torch.allclose(one, other, rtol=0.0, atol=bound * largest, equal_nan=True))


def asks_for_graphs(asked: bool | str, device: torch.device, precision: str) -> bool:
    """Return whether steps are to be replayed.

    Args:
        asked: `trainer.graphs`.
        device: where they are taken.
        precision: `trainer.precision`.

    Raises:
        UserError: `true` is asked for, and it cannot be done.
    """
    why = None
    if device.type != "cuda":
        why = f"CUDA graphs need an NVIDIA GPU, and this run is on {device.type}"
    elif precision not in PRECISIONS:
        why = f"trainer.precision={precision} casts tensors anew in every step"
    if why is None:
        return asked is not False
    refuse_graphs(asked, why)
    if asked == "auto" and device.type == "cuda":
        log.info("graphs    none: %s", why)
    return False


def refuse_graphs(asked: bool | str, why: str) -> None:
    """Refuse graphs that are asked for by `true`.

    Raises:
        UserError: saying why there are none.
    """
    if asked is True:
        raise UserError(f"trainer.graphs=true cannot be done: {why}; leave it out, or write auto.")
