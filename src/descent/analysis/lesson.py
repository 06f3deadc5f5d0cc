"""What a comparison teaches, in figures: by the measures that its recipe names, not by a winner.

A recipe of `conf/experiment` asks a question and names what answers it (`lesson` in
`conf/train.yaml`). The sentences are made of the runs' own figures, so they stay true whatever else
was typed.
"""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from descent.analysis.loss_records import full_loss
from descent.analysis.search import Next
from descent.analysis.settings import UNITS
from descent.analysis.study import seeds_do_nothing
from descent.analysis.targets import Hit
from descent.analysis.trials import Study, Trial, Value, label, number_in, short, text
from descent.config.spelling import command_words
from descent.errors import UserError, did_you_mean, joined
from descent.metrics import MIN, mode_of
from descent.records.endings import Status

LATE, LATE_SHARE = "late full loss", 0.1
TIMES = tuple(f"{unit} to target" for unit in UNITS)
SEEDS = 5  # to see the same with
DIGITS = 4  # that are printed; figures that agree in them tie
RATIOS = (1.5, 1000.0)  # from which on, and up to which, it is worth telling

# How a measure is called in a sentence.
WORDS = {
    "steps to target": "Steps to a full loss of {target:.4g}",
    "samples to target": "Samples to a full loss of {target:.4g}",
    "seconds to target": "Seconds to a full loss of {target:.4g}",
    LATE: "Full loss, mean over the last tenth of the steps",
    "step": "Steps taken",
    "train/full_loss": "Full loss at the end",
    "val/loss": "Validation loss at the end",
    "best/val/loss": "Validation loss of the best epoch",
    "val/accuracy": "Validation accuracy at the end",
    "best/val/accuracy": "Validation accuracy of the best epoch",
    "diagnostics/near_zero": "Share of the weights that are near zero",
    "diagnostics/weights_l2": "Norm of the weights",
    "diagnostics/step_noise": "Standard deviation of the step loss at the end",
    "diagnostics/sharpness": "Largest curvature",
    "diagnostics/distance": "Distance to the optimum",
}


@dataclass(frozen=True)
class Lesson:
    """What a comparison says.

    Args:
        measures: that the recipe names.
        sentences: one a measure, the recipe's question before the first; then whether seeds matter.
        again: what repeats it with other seeds; nothing where they change nothing.
    """

    measures: tuple[str, ...]
    sentences: tuple[str, ...]
    again: tuple[Next, ...]


@dataclass(frozen=True)
class Entry:
    """A setting's figure: the mean over its seeds, or what became of it instead."""

    values: Mapping[str, Value]
    value: float | None
    lost: str = ""

    @property
    def name(self) -> str:
        """What was varied."""
        return label(self.values)

    @property
    def shown(self) -> str:
        """The figure as it is printed."""
        return f"{self.value:,.{DIGITS}g}" if self.value != int(self.value or 0) else (
            f"{int(self.value or 0):,}"
        )  # fmt: skip


def lesson(study: Study, target: float | None, hits: Mapping[int, Hit | None]) -> Lesson | None:
    """Return what a comparison says; None where its recipe names no measure.

    Args:
        study: the trials.
        target: the full loss that times are told to; None if there is none.
        hits: when each trial reached it.

    Raises:
        UserError: the recipe names a measure that no run recorded.
    """
    node = study.config.get("lesson") or {}
    names = list(node.get("measures") or ())
    if not names or not study.swept:
        return None
    sentences = []
    for name in names:
        _check(study, name, target)
        entries = _entries(study, name, hits, target)
        words = WORDS.get(name, f"{name} at the end").format(target=target or 0)
        sentences.append(f"{words}: {_told(name, entries)}.")
    sentences[0] = f"{node.get('question') or ''} {sentences[0]}".lstrip()
    fixed = seeds_do_nothing(study)
    if fixed:
        return Lesson(tuple(names), (*sentences, fixed), ())
    return Lesson(tuple(names), tuple(sentences), (_again(study),))


def _again(study: Study) -> Next:
    taken = [int(w.partition("=")[2]) for t in study.trials for w in t.seed.split() if "=" in w]
    first = max([int(study.config.get("seed", 0)), *taken]) + 1
    shared = [word for word in study.shared if not word.startswith("seed=")]
    typed = [*command_words("train"), *shared, f"seed=range({first},{first + SEEDS})"]
    settings = {tuple(trial.values.values()) for trial in study.trials}
    steps = sum(trial.step or 0 for trial in study.trials) * SEEDS * len(settings)
    return Next(
        shlex.join(typed), "see the same with other seeds", SEEDS * len(settings),
        steps // len(study.trials),
    )  # fmt: skip


def _check(study: Study, name: str, target: float | None) -> None:
    known = list(dict.fromkeys(column for t in study.trials for column in t.figures))
    known += ["step", LATE, *(TIMES if target is not None else ())]
    if name not in known:
        hint = did_you_mean(name, known) or "."
        raise UserError(
            f"lesson.measures names '{name}', which no run recorded{hint} There are "
            f"{', '.join(known)}."
        )


def _entries(
    study: Study, name: str, hits: Mapping[int, Hit | None], target: float | None
) -> list[Entry]:
    """Return each setting's figure, in the order in which settings were given."""
    groups: dict[tuple[Value, ...], list[Trial]] = {}
    for trial in sorted(study.trials, key=lambda trial: trial.number):
        groups.setdefault(tuple(trial.values.values()), []).append(trial)
    made = []
    stopped = target is not None and (study.config.get("stop") or {}).get("loss") == target
    for own in groups.values():
        figures = [_figure(trial, name, hits, stopped) for trial in own]
        known = [v for v in figures if v is not None and math.isfinite(v)]
        if len(known) == len(own):
            made.append(Entry(own[0].values, statistics.fmean(known)))
        else:
            made.append(Entry(own[0].values, None, _lost(own, name)))
    return made


def _figure(trial: Trial, name: str, hits: Mapping[int, Hit | None], stopped: bool) -> float | None:
    """Return a trial's figure; a run that a target ended took whole steps, however it crossed."""
    if name == "step":
        return trial.step
    if trial.status != Status.OK:
        return None
    if name in TIMES:
        if hits.get(trial.number) is None:
            return None
        return getattr(trial if stopped else hits[trial.number], UNITS[name.partition(" ")[0]])
    if name != LATE:
        return trial.figures.get(name)
    track = full_loss(trial.directory, within=True)
    late = track.loss[track.step > (1 - LATE_SHARE) * (trial.step or 0)]
    return float(np.mean(late)) if len(late) else None


def _lost(own: Sequence[Trial], name: str) -> str:
    worst = next((t for t in own if t.status != Status.OK), own[0])
    if worst.status == Status.DIVERGED:
        return f"diverged at step {worst.step:,}"
    if worst.status != Status.OK:
        return f"is {worst.status}"
    return "missed it" if name in TIMES else "has none"


def _told(name: str, entries: Sequence[Entry]) -> str:
    whole = [entry for entry in entries if entry.value is not None]
    lost = [f"{entry.name} {entry.lost}" for entry in entries if entry.value is None]
    told = [_ranked(name, whole) if _lower(name) is not None else _along(whole)] if whole else []
    return "; ".join([*told, *lost])


def _lower(name: str) -> bool | None:
    if name in TIMES or name == LATE:
        return True
    mode = mode_of(name)
    return None if mode is None else mode == MIN


def _ranked(name: str, entries: Sequence[Entry]) -> str:
    """Return the settings best first: `fewest, 6, with a; then 29 with b and 54 with c, ...`."""
    lower = bool(_lower(name))
    order = sorted(entries, key=lambda e: e.value if lower else -(e.value or 0))  # type: ignore[arg-type, return-value]
    groups = [(shown, list(own)) for shown, own in groupby(order, key=lambda e: e.shown)]
    (best, firsts), rest = groups[0], groups[1:]
    if not rest:
        names = joined([e.name for e in firsts])
        return f"{best} with {names}{', a tie' if len(firsts) > 1 else ''}"
    word = "fewest" if name in TIMES else "lowest" if lower else "highest"
    tie = ", a tie" if len(firsts) > 1 else ""
    told = f"{word}, {best}, with {joined([e.name for e in firsts])}{tie}"
    others = joined([f"{shown} with {joined([e.name for e in own])}" for shown, own in rest])
    ratio = _ratio(firsts[0].value or 0.0, rest[-1][1][0].value or 0.0)
    many = "many" if name in TIMES else "large"
    digits = ".0f" if ratio and ratio >= 10 else ".2g"
    last = f", {ratio:{digits}} times as {many}" if lower and ratio else ""
    return f"{told}; then {others}{last}"


def _ratio(best: float, worst: float) -> float | None:
    ratio = worst / best if best > 0 else 0.0
    return ratio if RATIOS[0] <= ratio <= RATIOS[1] else None


def _along(entries: Sequence[Entry]) -> str:
    """Return the settings in their order, and whether the figure rises or falls with a number."""
    keys = list(entries[0].values)
    numbers = [number_in(entry.values[keys[0]]) for entry in entries]
    if len(keys) > 1 or None in numbers or len(entries) < 2:
        return joined([f"{entry.shown} with {entry.name}" for entry in entries])
    key, rising = short(keys[0]), sorted(entries, key=lambda e: number_in(e.values[keys[0]]) or 0)
    told = joined([f"{e.shown} at {key}={text(e.values[keys[0]])}" for e in rising])
    if len({e.shown for e in rising}) == 1:
        return f"{rising[0].shown} at every {key}"
    return f"{told}: {_trend([e.value or 0.0 for e in rising], key)}"


def _trend(values: Sequence[float], key: str) -> str:
    steps = [b - a for a, b in pairwise(values)]
    if min(steps) >= 0:
        return f"it rises with {key}" if min(steps) > 0 else f"it never falls as {key} rises"
    if max(steps) <= 0:
        return f"it falls as {key} rises" if max(steps) < 0 else f"it never rises with {key}"
    return f"it neither rises nor falls with {key} throughout"
