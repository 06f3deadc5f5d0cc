"""Forward and backward of a single run's steps through `torch.compile`, where that repays itself.

Steps by hand (`fused.py`) need none of it. What torch makes stays on the disk, under a key of
torch's release, the processor, the shapes and the code, so that it is made once.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from descent.config.machine import kept, processor
from descent.errors import UserError, first_line

log = logging.getLogger(__name__)

Objective = Callable[[Tensor, Tensor], Tensor]
LOOK = 100  # steps by which `auto` knows what one takes
# Measured on two cores, one thread: compiling took 25 to 75 s; then a deep network with LayerNorm
# and GELU took 0.8 of its time a step, and an MLP 64-128-128-10 1.2 times, so that each is tried.
SECONDS = 60.0
SAVED = 0.2  # of a step's time, at best


class Steps(Protocol):
    """How far a run is: steps taken, seconds that they took, and steps that it takes at most."""

    step: int
    seconds: float

    @property
    def longest(self) -> float:
        """Steps at most."""


@dataclass
class Compiler:
    """Compiles what a run minimizes: at once, or where it may pay, and goes back if it does not.

    Args:
        asked: `trainer.compile`: true or auto.
        device: where the run trains.

    Raises:
        UserError: true is asked for, and nothing can be compiled here.
    """

    asked: bool | str
    device: torch.device
    decided: bool = False
    plain: Objective | None = None  # what is compiled, while that is tried
    began: tuple[int, float] | None = None  # steps and seconds when it began to look
    each: float = 0.0  # seconds of a step as it is
    warm: bool = False  # whether all that is tried was compiled before

    def __post_init__(self) -> None:
        missing = why_not(self.device)
        if missing is not None and self.asked is True:
            raise UserError(f"trainer.compile=true cannot be done: {missing}.")
        if missing is not None:
            self._decide(f"no: {missing}")

    def window(self, objective: Objective, learner: Steps) -> Objective:
        """Return what is to be minimized in the window that comes: compiled or as it is."""
        if self.decided:
            return objective
        if self.asked is True:
            self._decide(f"forward and backward, kept in {keep(self.device)}")
            return compiled(objective, self.device)
        each = self._look(learner)
        if each is None:
            return objective
        if self.plain is None:
            return self._try(objective, each, learner.longest - learner.step)
        if not self.warm:
            self.warm = True
            return objective
        change = f"{each * 1e3:.2g} ms a step and {self.each * 1e3:.2g} ms as it was"
        if each < self.each:
            self._decide(f"{change}; kept in {keep(self.device)}")
            return objective
        self._decide(f"no: {change}")
        return self.plain

    def _look(self, learner: Steps) -> float | None:
        """Return the seconds of a step, once enough were taken since the last answer."""
        if self.began is None:
            self.began = learner.step, learner.seconds
        taken, seconds = learner.step - self.began[0], learner.seconds - self.began[1]
        if taken < LOOK:
            return None
        self.began = learner.step, learner.seconds
        return seconds / taken

    def _try(self, objective: Objective, each: float, left: float) -> Objective:
        if not repays(each, left):
            self._decide(f"no: {left:,.0f} steps of {each * 1e3:.2g} ms would not repay it")
            return objective
        self.plain, self.each = objective, each
        return compiled(objective, self.device)

    def _decide(self, words: str) -> None:
        self.decided = True
        log.info("compiled  %s", words)


def repays(each: float, left: float) -> bool:
    """Whether compiling may pay for `left` steps that take `each` seconds as they are."""
    return SAVED * each * left > SECONDS


def why_not(device: torch.device) -> str | None:
    """Return why nothing can be compiled for a device; None if it can."""
    if device.type == "cpu":
        names = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++"]
        if not any(map(shutil.which, names)):
            return (
                f"on a CPU torch.compile needs a C++ compiler, and {' or '.join(names)} is not "
                "found; install g++, or leave the option out"
            )
    elif device.type != "cuda":
        return f"torch.compile is not used on {device.type}"
    return None


def keep(device: torch.device) -> Path:
    """Return where torch keeps what it compiles for this processor and its release."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    key = hashlib.sha256(f"{torch.__version__} {where}".encode()).hexdigest()[:12]
    return kept("compiled") / key


def compiled(objective: Objective, device: torch.device) -> Objective:
    """Return an objective compiled: it draws what it draws as it is, and is its equal to rounding.

    It is made at the first call for each shape, and kept where `keep` says for its device.

    Raises:
        UserError: at a call, what it does cannot be compiled.
    """
    import torch._inductor.config as inductor

    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(keep(device)))
    inductor.fallback_random = True  # dropout draws from torch's own stream
    made: Any = torch.compile(objective, dynamic=False)

    def call(x: Tensor, y: Tensor) -> Tensor:
        try:
            loss: Tensor = made(x, y)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise UserError(
                f"This model cannot be compiled: {first_line(error)}; leave trainer.compile out."
            ) from error
        return loss

    return call
