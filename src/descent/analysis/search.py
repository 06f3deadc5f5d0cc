"""The next multirun as a command: the rest, wider, finer, with fresh seeds; or that it is done."""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from descent.analysis.neighbours import Place
from descent.analysis.settings import Measure, Setting
from descent.analysis.study import AFTER, RECIPES
from descent.analysis.trials import (
    BATCH,
    FOLD,
    SPLIT,
    Study,
    Trial,
    Value,
    learning_rate,
    number_in,
    ordered,
    repeat_word,
    short,
    text,
)
from descent.config.spelling import command_words
from descent.errors import counted
from descent.records.endings import Status

FEW = 4  # seeds that are typed one by one
FRESH_SPLITS = 2  # where each has several folds
FRESH = 6  # seeds to confirm with, at least: their interval of the median holds 96.9 %
MOST_FRESH = 20
TELL, ERRORS = 0.1, 3.0  # a share of the error that is told apart, in so many standard errors
MOST_SETTINGS = 60  # of one command; more options at an edge wait for the next
BRACKET = 3.0  # factor on both sides of an lr that follows the batch size
ALIKE = 1.5  # factor below which two learning rates of one sweep are too near to tell much
NO_SWEEP = "hydra.sweeper.params=null"  # a recipe's own grid would multiply this one
ONLY = "hydra.sweeper.only"
SEARCHES = ("sweep=optuna", "sweep=random")  # which propose settings of their own


@dataclass(frozen=True)
class Next:
    """A multirun to be typed next.

    Args:
        command: as typed in a shell.
        aim: what it is for, in words.
        runs: how many it trains.
        steps: of all runs together, about; None where no run tells.
        seconds: of training in one process, about; None where no run tells.
    """

    command: str
    aim: str
    runs: int
    steps: int | None = None
    seconds: float | None = None

    @property
    def price(self) -> str:
        """What it costs, in words."""
        told = counted(self.runs, "run")
        if self.steps is not None:
            told += f", about {_rough(self.steps):,} run-steps"
        if self.seconds is not None:
            told += f", up to {_told(self.seconds)}"
        return told


def _rough(value: float) -> int:
    """Return a number with two digits."""
    digits = 10 ** max(0, math.floor(math.log10(value)) - 1) if value > 0 else 1
    return round(value / digits) * digits


def _told(seconds: float) -> str:
    if seconds < 1:
        return "a second of training"
    if seconds < 120:
        return f"{_rough(seconds)} s of training"
    minutes = seconds / 60
    if minutes < 120:
        return f"{_rough(minutes)} min of training"
    return f"{_rough(minutes / 60)} h of training"


Options = Mapping[str, tuple[Value, ...]]


def further(
    study: Study, winner: Setting, tied: Sequence[Setting], found: Sequence[Place]
) -> Next | None:
    """Return the sweep that goes on beyond edges or between coarse neighbours; None if all is fine.

    It keeps the inner neighbour of an edge, since the winner would else be the new grid's edge, and
    neighbours in other numbers that are tied with the winner. Where the batch size moves, lr is
    bracketed again: by `BRACKET` around the winner's and what the linear rule makes of it.

    Args:
        study: the trials.
        winner: the best.
        tied: those that may be the best too.
        found: of `places`.
    """
    moving = [place for place in found if place.further]
    rate = learning_rate(study)
    moved = any(place.key == BATCH and place.edge for place in moving)
    if moved:  # lr is bracketed anyway
        moving = [place for place in moving if place.key != rate or place.edge]
    moving.sort(key=lambda place: (place.key != BATCH, -study.influence.get(place.key, 0.0)))
    options: dict[str, tuple[Value, ...]] = {k: (v,) for k, v in winner.values.items()}
    aims: list[str] = []
    for place in moving:
        values = dict(options) | {place.key: ordered(place.further)}
        if place.key == rate and moved:
            values[place.key] = _apart(place.further, options[rate])
        if place.key == BATCH and place.edge and rate:
            values[rate] = _apart(_bracket(place, winner, rate), options[rate])
        if math.prod(map(len, values.values())) > MOST_SETTINGS and aims:
            continue
        options = values
        words = {1: "larger {}", -1: "smaller {}", 0: "a finer grid of {}"}[place.edge]
        aims.append(words.format(short(place.key)))
        if place.key == BATCH and place.edge and rate:
            aims.append(f"{short(rate)} around it")
    if not aims:
        return None
    for place in found:
        near = [s.setting for s in (place.below, place.above) if s and s.setting in tied]
        values = dict(options) | {
            place.key: ordered([*options[place.key], *(s.values[place.key] for s in near if s)])
        }
        if place.key == rate:  # what was tried is known already; what is nearly it would tell less
            tried = [winner.values[rate], *(s.values[rate] for s in near if s)]
            values[rate] = _apart(options[rate], tried)
        if not place.further and math.prod(map(len, values.values())) <= MOST_SETTINGS:
            options = values
    return command(study, combinations(options), _seeds(study), f"try {' and '.join(aims)}")


def _bracket(place: Place, winner: Setting, rate: str) -> list[float]:
    """Return learning rates for batch sizes beyond the winner's."""
    lr = number_in(winner.values[rate]) or 0.0
    ends = [lr * number / place.at for number in place.further] + [lr]
    low, high = min(ends) / BRACKET, max(ends) * BRACKET
    inner = [lr * BRACKET**n for n in range(-3, 4)]
    return [float(f"{v:.2g}") for v in inner if low * 0.99 <= v <= high * 1.01]


def _apart(values: Sequence[Value], kept: Sequence[Value]) -> tuple[Value, ...]:
    """Return numbers without those that are nearly one of `kept`, or of each other."""
    numbers: list[Value] = list(kept)
    for value in values:
        new, others = number_in(value), [number_in(other) for other in numbers]
        if not any(new and o and max(new / o, o / new) < ALIKE for o in others):
            numbers.append(value)
    return ordered(numbers)


def confirm(
    study: Study,
    winner: Setting,
    tied: Sequence[Setting],
    beside: Sequence[Trial] = (),
    told: str = "",
    seeds: int = FRESH,
) -> Next | None:
    """Return the sweep that repeats the winner and all tied with it, and nothing else.

    Args:
        study: the trials.
        winner: the best.
        tied: those that may be the best too.
        beside: trials of other sweeps, whose seeds are not fresh either.
        told: what these settings are called; empty for the best and those tied with it.
        seeds: how many fresh ones, at least.
    """
    if not study.swept:
        return first(study)
    who = "the best setting" if not tied else f"the best setting and the {len(tied)} tied with it"
    if len(tied) == 1:
        who = "the best setting and the one tied with it"
    who = told or who
    chosen = [dict(s.values) for s in (winner, *tied)]
    luck = _fresh(replace(study, trials=(*study.trials, *beside)), seeds)
    return command(study, chosen, luck, f"confirm {who} with fresh {_fresh_word(study)}s")


def repeat(study: Study, winner: Setting) -> str:
    """Return the command that trains a setting again with the seeds of its trials."""
    seeds = _typed_seeds(winner.trials)
    return command(study, [winner.values], seeds, "repeat it", follow=False).command


def combinations(options: Options) -> list[dict[str, Value]]:
    """Return all combinations of the values of some options."""
    rows = itertools.product(*options.values())
    return [dict(zip(options, row, strict=True)) for row in rows]


def first(study: Study) -> Next | None:
    """Return a sweep of the learning rate, for runs that varied nothing but their seeds."""
    rate = (study.config.get("optimizer") or {}).get("lr")
    if not isinstance(rate, (int, float)) or rate <= 0:
        return None
    shared = tuple(w for w in study.shared if not w.lstrip("+").startswith("optimizer.lr="))
    values = [{"optimizer.lr": float(f"{rate * factor:.2g}")} for factor in (0.01, 0.1, 1, 10)]
    aim = "find out how much the learning rate matters"
    return command(replace(study, shared=shared), values, _seeds(study), aim, follow=False)


def without_winner(study: Study) -> Next | None:
    """Return a sweep of smaller learning rates, where trials diverged and no setting ended well."""
    rate = learning_rate(study)
    if rate is None or not any(t.status == Status.DIVERGED for t in study.trials):
        return None
    options = {key: ordered(t.values[key] for t in study.trials) for key in study.swept}
    least = number_in(options[rate][0]) or 0.0
    options[rate] = tuple(float(f"{least * factor:.2g}") for factor in (0.01, 0.03, 0.1, 0.3))
    aim = "smaller learning rates, since none ended well"
    return command(study, combinations(options), _seeds(study), aim)


def unfinished(study: Study) -> Next | None:
    """Return the command that trains what is left; nothing where the trials are no whole grid."""
    own = [t for t in study.trials if t.directory.is_relative_to(study.directory)]
    if all(trial.status in (Status.OK, Status.DIVERGED, Status.FAILED) for trial in own):
        return None
    settings = list({tuple(t.values.values()): dict(t.values) for t in own}.values())
    if len(settings) * math.prod(map(len, _luck(own).values())) != len(own):
        return None
    words = [*_typed_seeds(own), f"sweep_dir={study.directory}"]
    found = command(study, settings, words, "train the trials that have not ended", follow=False)
    left = sum(t.status not in (Status.OK, Status.DIVERGED, Status.FAILED) for t in own)
    return replace(found, runs=left, steps=None, seconds=None)


def command(
    study: Study,
    settings: Sequence[Mapping[str, Value]],
    seeds: Sequence[str],
    aim: str,
    follow: bool = True,
) -> Next:
    """Return a multirun of some settings, as it is typed in a shell, and its price.

    Where they are not all combinations of their values, `hydra.sweeper.only` says which are meant.

    Args:
        study: whose shared overrides are kept.
        settings: values by option.
        seeds: words such as `seed=0,1`.
        aim: what it is for.
        follow: whether its report is to count the trials of this study.
    """
    options = {key: ordered(s[key] for s in settings) for key in settings[0]}
    shared = [word for word in study.shared if word not in SEARCHES]
    recipe = any(word.partition("=")[0] in RECIPES for word in shared)
    words = [f"{key}={','.join(map(text, values))}" for key, values in options.items()]
    if math.prod(map(len, options.values())) > len(settings):
        several = [key for key, values in options.items() if len(values) > 1]
        rows = [f"[{','.join(text(s[key]) for key in several)}]" for s in settings]
        words.append(f"{ONLY}=[{','.join(rows)}]")
    after = [f"{AFTER}{study.directory}"] if follow else []
    words = [study.as_typed(word) for word in (*words, *seeds)]
    typed = [*shared, *([NO_SWEEP] if recipe else []), *words, *after]
    made = shlex.join([*command_words("train"), "-m", *typed])
    count = math.prod(_count(word) for word in seeds)
    steps, seconds = _price(study, settings)
    return Next(
        made, aim, len(settings) * count,
        None if steps is None else round(steps * count),
        None if seconds is None else seconds * count,
    )  # fmt: skip


def drawn(study: Study, words: Mapping[str, str], trials: int, draws: int, aim: str) -> Next:
    """Return a random search as it is typed in a shell, and its price: as long as runs were so far.

    Args:
        study: whose shared overrides are kept.
        words: by option, an interval or values with commas.
        trials: how many settings.
        draws: the seed of the draws.
        aim: what it is for.
    """
    shared = [word for word in study.shared if word not in SEARCHES]
    typed = [study.as_typed(f"{key}={value}") for key, value in words.items()]
    seeds = _seeds(study)
    typed += [*seeds, f"hydra.sweeper.trials={trials}", f"hydra.sweeper.seed={draws}"]
    made = shlex.join([*command_words("train"), "-m", *shared, *typed, f"{AFTER}{study.directory}"])
    runs = trials * math.prod(_count(word) for word in seeds)
    done = [t for t in study.trials if t.status == Status.OK and t.step]
    steps = sum(t.step or 0 for t in done) / len(done) * runs if done else None
    seconds = math.fsum(t.seconds or 0 for t in done) / len(done) * runs if done else None
    return Next(made, aim, runs, None if steps is None else round(steps), seconds)


def _count(word: str) -> int:
    """Return how many values a word such as `seed=0,1` or `seed=range(3,8)` gives."""
    key, _, row = word.partition("=")
    if key == "sweep_dir":
        return 1
    if row.startswith("range("):
        low, high = map(int, row[6:-1].split(","))
        return high - low
    return row.count(",") + 1


def _price(
    study: Study, settings: Sequence[Mapping[str, Value]]
) -> tuple[float | None, float | None]:
    """Return the steps and seconds of one run of each setting, by what trials took so far.

    A trial with another batch size takes as many samples: more, smaller steps; with a budget of
    steps it takes as many steps.
    """
    done = [t for t in study.trials if t.status == Status.OK and t.step and t.samples]
    if not done:
        return None, None
    samples = [t.samples for t in done if t.samples]
    budget = (study.config.get("stop") or {}).get("steps")
    total = 0.0
    for setting in settings:
        same = [t.step for t in done if t.step and t.values.get(BATCH) == setting.get(BATCH)]
        batch = number_in(setting[BATCH]) if BATCH in setting else None
        if same or batch is None:
            total += max(same, default=max(t.step for t in done if t.step))
        else:
            total += min(max(samples) / batch, budget or math.inf)
    pace = [t.seconds / t.step for t in done if t.seconds and t.step]
    return total, total * sorted(pace)[len(pace) // 2] if pace else None


def _seeds(study: Study) -> list[str]:
    """Return the seeds of a study as they are typed."""
    return _typed_seeds(study.trials)


def _typed_seeds(trials: Sequence[Trial]) -> list[str]:
    return [f"{key}={_row(own)}" for key, own in _luck(trials).items()]


def seeds_to_tell(settings: Sequence[Setting], measure: Measure) -> int:
    """Return how many seeds tell errors apart that differ by a tenth, by three standard errors.

    Args:
        settings: that may be the best.
        measure: what they were compared by.
    """
    shares = []
    for setting in settings:
        error = setting.mean if measure.lower else 1 - setting.mean
        if len(setting.scores) > 1 and error > 0:
            shares.append((setting.spread / error) ** 2)
    if len(settings) < 2 or not shares:
        return FRESH
    variance = math.fsum(shares) / len(shares)
    return min(MOST_FRESH, max(FRESH, math.ceil(2 * variance * (ERRORS / TELL) ** 2)))


def _fresh(study: Study, least_many: int = FRESH) -> list[str]:
    """Return seeds that no trial had: as many as there were, and so many at least.

    There are no folds beyond those of a split: fresh ones are those of two other splits.
    """
    luck = _luck(study.trials) or {"seed": [int(study.config.get("seed", 0))]}
    if FOLD in luck:
        known = luck.get(SPLIT) or [int((study.config.get("data") or {}).get("split_seed") or 0)]
        splits = range(max(known) + 1, max(known) + 1 + FRESH_SPLITS)
        return [f"{key}={_row(own)}" for key, own in ({**luck, SPLIT: splits}).items()]
    key, own = next(iter(luck.items()))
    count, least = max(least_many, len(own)), max(own) + 1
    rest = [f"{other}={_row(numbers)}" for other, numbers in luck.items() if other != key]
    return [f"{key}={_row(range(least, least + count))}", *rest]


def _fresh_word(study: Study) -> str:
    word = repeat_word(study.trials)
    return "split" if word == "fold" else word


def _row(numbers: Sequence[int]) -> str:
    """Return `0,1,2`, or `range(0,8)` for a longer row."""
    least, most = numbers[0], numbers[-1]
    if len(numbers) > FEW and most - least == len(numbers) - 1:
        return f"range({least},{most + 1})"
    return ",".join(map(str, numbers))


def _luck(trials: Iterable[Trial]) -> dict[str, list[int]]:
    """Return the seeds that trials had, by option."""
    found: dict[str, set[int]] = {}
    for trial in trials:
        for word in trial.seed.split():
            key, _, number = word.partition("=")
            if number.isdigit():
                found.setdefault(key, set()).add(int(number))
    return {key: sorted(numbers) for key, numbers in found.items()}
