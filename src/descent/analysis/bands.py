"""Loss over training of the best setting of each optimizer, of the worst and of the lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import numpy as np

from descent.analysis.loss_records import LossCurve, full_loss, recorded, step_loss
from descent.analysis.settings import Setting
from descent.analysis.trials import OPTIMIZER, Study, Trial, Value, label, problem_keys
from descent.config.options import is_problem
from descent.records.endings import Status
from descent.records.tables import FULL_LOSS, RUNNING_LOSS

MOST_BEST = 12
MOST_LOST = 10
FEW = 3  # records; fewer show nothing of how a loss was lost, and its steps are read

Reader = Callable[[Path], LossCurve]
NAMES = {FULL_LOSS: "full loss", RUNNING_LOSS: "running loss"}


@dataclass(frozen=True)
class Band:
    """Full loss (else running loss) over steps, or samples, of a setting's trials.

    Args:
        label: such as `adam, lr=0.01`.
        setting: whose it is.
        step: [n] common to all its trials.
        low, median, high: [n] quartiles over the seeds.
        each: [trials, n] every trial's values.
        ends: [trials] the last finite value of each, wherever it ended.
    """

    label: str
    setting: Setting
    step: np.ndarray
    low: np.ndarray
    median: np.ndarray
    high: np.ndarray
    each: np.ndarray
    ends: np.ndarray


@dataclass(frozen=True)
class Lost:
    """A trial that diverged: what, when and its loss up to there.

    Args:
        trial: its reason says what and when.
        step, loss: [n]; not all finite.
        name: of the loss: `step loss` where it was lost before others were recorded.
    """

    trial: Trial
    step: np.ndarray
    loss: np.ndarray
    name: str = "full loss"


@dataclass(frozen=True)
class Bands:
    """The best setting of each optimizer (or of each sweep), the worst one, and the lost.

    Args: name of the loss; those; by what they are the best and the worst, in words; what each is
    the best of; what the loss is told over.
    """

    loss: str
    best: tuple[Band, ...]
    worst: Band | None
    lost: tuple[Lost, ...]
    by: str = ""
    of: str = "optimizer"
    x: str = "step"


def bands(study: Study, settings: Sequence[Setting], by: str = "") -> Bands:
    """Return the curves of the best setting of each optimizer, the worst one, and the lost.

    Best and worst are among the settings that lost no trial; across problems none is the worst. Of
    those that diverged one trial a setting is taken first, by number, then further ones, up to ten.

    Args:
        study: the trials.
        settings: of `settings`, best first.
        by: the label of the measure that orders them.
    """
    whole = [s for s in settings if s.standing == "complete"]
    readers = _readers(study)
    some = [t for s in whole[:1] for t in s.trials] or list(study.trials[:1])
    name = FULL_LOSS if any(len(readers[FULL_LOSS](t.directory)) for t in some) else RUNNING_LOSS
    keys = [key for key in study.swept if is_problem(key) or key == OPTIMIZER]
    best: dict[tuple[Value, ...], Setting] = {}
    for setting in whole:
        best.setdefault(tuple(setting.values[key] for key in keys), setting)
    chosen = list(best.values())[:MOST_BEST]
    drawn = [band for s in chosen if (band := _band(s, readers[name])) is not None]
    last = whole[-1] if whole and whole[-1] not in chosen and not problem_keys(study) else None
    worst = None if last is None else _band(last, readers[name])
    lost = [_lost(trial, readers[name], NAMES[name]) for trial in _diverged(study)]
    return Bands(NAMES[name], tuple(drawn), worst, tuple(lost), by)


def bands_of_sweeps(chosen: Sequence[tuple[str, Study, Setting]], by: str) -> Bands:
    """Return the curves of one setting of each of several sweeps.

    They are told over samples where a step of one takes more rows than a step of another.

    Args:
        chosen: what each sweep is called, the sweep, and the setting of it.
        by: the label of the measure by which it is its best.
    """
    readers = [_readers(study) for _, study, _ in chosen]
    firsts = [setting.trials[0] for _, _, setting in chosen]
    known = zip(readers, firsts, strict=True)
    name = FULL_LOSS if all(len(r[FULL_LOSS](t.directory)) for r, t in known) else RUNNING_LOSS
    rows = {round((t.samples or 0) / t.step) for t in firsts if t.step}
    x = "samples" if len(rows) > 1 else "step"
    drawn = []
    for (called, _, setting), read in zip(chosen, readers, strict=True):
        band = _band(setting, read[name], x)
        if band is not None:
            # named by its sweep alone: two sweeps may have picked one optimizer
            told = f"{called}: {band.label or 'the only setting'}"
            drawn.append(replace(band, label=told, setting=replace(setting, values={})))
    return Bands(NAMES[name], tuple(drawn), None, (), by, "sweep", x)


def _readers(study: Study) -> dict[str, Reader]:
    within = bool(_callback(study).get("every_n_steps"))
    return {
        FULL_LOSS: lambda directory: full_loss(directory, within),
        RUNNING_LOSS: lambda directory: recorded(directory, RUNNING_LOSS),
    }


def _callback(study: Study) -> dict[str, object]:
    return (study.config.get("callbacks") or {}).get("full_loss") or {}


def _band(setting: Setting, read: Reader, x: str = "step") -> Band | None:
    """Return quartiles at the steps that all trials have; None where there are none."""
    tracks = [read(trial.directory) for trial in setting.trials]
    steps: list[np.ndarray] = [getattr(track, x) for track in tracks]
    step = reduce(np.intersect1d, steps)
    if not len(step):
        return None
    each = np.array(
        [track.loss[np.searchsorted(own, step)] for track, own in zip(tracks, steps, strict=True)]
    )
    low, median, high = np.quantile(each, [0.25, 0.5, 0.75], axis=0)
    ends = np.array([_end(track) for track in tracks])
    return Band(label(setting.values), setting, step, low, median, high, each, ends)


def _end(track: LossCurve) -> float:
    known = track.loss[np.isfinite(track.loss)]
    return float(known[-1]) if len(known) else np.nan


def _diverged(study: Study) -> list[Trial]:
    trials = [trial for trial in study.trials if trial.status == Status.DIVERGED]
    firsts = {tuple(trial.values.values()): trial for trial in reversed(trials)}
    first = {trial.number for trial in firsts.values()}
    trials.sort(key=lambda trial: (trial.number not in first, trial.number))
    return sorted(trials[:MOST_LOST], key=lambda trial: trial.number)


def _lost(trial: Trial, read: Reader, name: str) -> Lost:
    track = read(trial.directory)
    if len(track) < FEW:
        steps = step_loss(trial.directory)
        if len(steps) > len(track):
            return Lost(trial, steps.step, steps.loss, "step loss")
    return Lost(trial, track.step, track.loss, name)
