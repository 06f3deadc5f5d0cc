"""How a run can end: every status and reason there is, each with its sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any


class Status(StrEnum):
    """The word in `result.json` that says what became of a run."""

    RUNNING = "running"
    OK = "ok"
    DIVERGED = "diverged"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class Reason(Enum):
    """Why a run ended: its status and the sentence told to the user."""

    EPOCHS = (Status.OK, "reached stop.epochs={epochs}")
    STEPS = (Status.OK, "reached stop.steps={steps}")
    TARGET = (
        Status.OK,
        "full loss {value:.6g} reached the target {target:.6g} at step {step}",
    )
    EARLY_STOPPING = (Status.OK, "{monitor} did not improve for {patience} checks in a row")
    STOPPED = (Status.OK, "a callback asked the trainer to stop at step {step}")
    NON_FINITE = (
        Status.DIVERGED,
        "step loss is {value} at step {step} (epoch {epoch}, lr {lr:g}); try a smaller lr",
    )
    LOSS_GREW = (
        Status.DIVERGED,
        "full loss {value:.6g} stayed above {factor:g} times its start {start:.6g} for {checks} "
        "checks, up to step {step} (epoch {epoch}, lr {lr:g}); try a smaller lr",
    )
    SIGNAL = (Status.INTERRUPTED, "stopped by {signal} at step {step}")
    DISK = (Status.FAILED, "{error}")
    MEMORY = (Status.FAILED, "there was not enough memory: {error}")
    EXIT = (Status.FAILED, "code that it was given ended it: {error}")
    TIME = (Status.FAILED, "took longer than hydra.launcher.job_seconds={seconds:g}")
    GIVEN_UP = (Status.FAILED, "{error}")
    DEATH = (Status.FAILED, "its worker process died (killed, or out of memory?)")
    EXCEPTION = (Status.FAILED, "{error}")

    @property
    def status(self) -> Status:
        """The status a run gets when it ends for this reason."""
        return self.value[0]

    @property
    def template(self) -> str:
        """The sentence, with its figures still to be filled in."""
        return self.value[1]

    @property
    def code(self) -> str:
        """The word in `result.json` that says it to programs."""
        return self.name.lower()


@dataclass(frozen=True)
class Ending:
    """One run's ending: the reason with its figures."""

    reason: Reason
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> Status:
        """The status this ending gives the run."""
        return self.reason.status

    @property
    def sentence(self) -> str:
        """The reason in words, figures filled in."""
        return self.reason.template.format(**self.figures)


def ended_by(result: Mapping[str, Any], reason: Reason) -> bool:
    """Whether a `result.json` says that its run ended for a reason."""
    return bool((result.get("ending") or {}).get("code") == reason.code)
