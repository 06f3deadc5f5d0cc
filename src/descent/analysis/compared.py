"""Several sweeps of one problem: each one's best setting, how far they are apart, at what price."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from descent.analysis.advice import FLATTERED, advice
from descent.analysis.confidence import LEAST_SEEDS, Effect, by_seed, effect, effect_apart
from descent.analysis.settings import Measure, Setting
from descent.analysis.study import part_of
from descent.analysis.trials import Study, Value, label, ordered, repeat_word, text
from descent.analysis.tuning import expected_best
from descent.analysis.wording import percent, with_spread
from descent.config.check import flatten
from descent.config.options import is_seed
from descent.errors import counted
from descent.records.endings import Status

KIND = "._target_"
MOST_VALUES = 6  # of an option that are told one by one
# what runs may differ in without learning anything else, or what is said elsewhere
UNTOLD = (
    *("paths.", "hydra.", "logger.", "lesson.", "name", "resume", "trust", "picture", "report"),
    *("after", "test", "callbacks.progress.", "callbacks.checkpoint.", "optimized_metric"),
)
# by what option rows are set aside: scores of others are those of other validation rows
SPLIT_BY = ("data.val_fraction", "data.test_fraction", "data.split_seed", "data.fold", "data.folds")


@dataclass(frozen=True)
class Contender:
    """A sweep beside others.

    Args:
        name: of its directory, as far as that tells it from the others.
        study: its own trials.
        settings: best first; the winner leads where there is one.
        winner: its best setting that lost no trial.
        config: resolved, of the winner's best run.
    """

    name: str
    study: Study
    settings: tuple[Setting, ...]
    winner: Setting | None
    config: Mapping[str, Any]

    @property
    def whole(self) -> list[Setting]:
        """Its settings that lost no trial, the winner first."""
        return [s for s in self.settings if s.standing == "complete"]

    @property
    def lost(self) -> int:
        """How many trials diverged or failed."""
        return sum(t.status in (Status.DIVERGED, Status.FAILED) for t in self.study.trials)

    def taken(self, what: str) -> float:
        """Return what all its trials took together: `step`, `samples` or `seconds`."""
        return math.fsum(getattr(trial, what) or 0 for trial in self.study.trials)


@dataclass(frozen=True)
class Comparison:
    """Several sweeps by one measure.

    Args:
        measure: what they are compared by.
        ranked: best first; those without a winner last.
        effects: of each but the first against the first; None where seeds tell nothing.
        apart: whether they validate on other rows, so that no pairs are made.
    """

    measure: Measure
    ranked: tuple[Contender, ...]
    effects: tuple[Effect | None, ...]
    apart: bool

    @property
    def best(self) -> Contender:
        """The sweep whose best setting is the best."""
        return self.ranked[0]


def contender(
    name: str,
    study: Study,
    settings: Sequence[Setting],
    measure: Measure,
    config: Mapping[str, Any],
) -> Contender:
    """Return a sweep with the winner that its own report names."""
    winner = advice(study, settings, (), measure).winner
    others = tuple(s for s in settings if s is not winner)
    return Contender(name, study, others if winner is None else (winner, *others), winner, config)


def own_part(study: Study) -> Study:
    """Return a study without the trials of sweeps that it follows: each sweep is told alone."""
    if not study.earlier:
        return study
    own = [t for t in study.trials if t.directory.is_relative_to(study.directory)]
    alike = [key for key in study.swept if len({t.values[key] for t in own}) == 1]
    return replace(part_of(study, own, alike), earlier=())


def compare(contenders: Sequence[Contender], measure: Measure) -> Comparison:
    """Rank sweeps by their best settings, and tell how far the others are behind.

    Args:
        contenders: of one problem, one with a winner at least.
        measure: what their settings were compared by.
    """
    sign = 1 if measure.lower else -1

    def place(each: Contender) -> tuple[bool, float]:
        return (each.winner is None, sign * each.winner.mean if each.winner else 0.0)

    ranked = sorted(contenders, key=place)
    split = [{k: v for k, v in flatten(c.config) if k in SPLIT_BY} for c in ranked]
    apart = any(one != split[0] for one in split)
    count = sum(len(c.whole) for c in ranked)
    effects = [_effect(ranked[0], other, measure, apart, count) for other in ranked[1:]]
    return Comparison(measure, tuple(ranked), tuple(effects), apart)


def _effect(
    best: Contender, other: Contender, measure: Measure, apart: bool, count: int
) -> Effect | None:
    if best.winner is None or other.winner is None:
        return None
    one, two = by_seed(best.winner).keys(), by_seed(other.winner).keys()
    better, worse = best.whole, other.whole
    more = count - len(better) - len(worse)
    if not apart and (one <= two or two <= one):
        return effect(better, worse, measure, more)
    return effect_apart(better, worse, measure, more)


def compared_words(found: Comparison) -> tuple[list[str], list[str]]:
    """Return the sentence that says which sweep is best, and those on how sure that is."""
    measure, best = found.measure, found.best
    assert best.winner is not None
    lead = (
        f"The best of the {len(found.ranked)} sweeps by {measure.label} is {best.name}: "
        f"{_scored(best, best.winner)}."
    )
    told = [_against(best, other, effect, found) for other, effect in _others(found)]
    if found.apart:
        told.append(
            "They validate on other rows, so each difference holds the luck of the split as well."
        )
    picked = [c for c in found.ranked if c.winner and len(c.whole) > 1]
    if picked and any(len(c.winner.scores) > 1 for c in picked if c.winner):
        told.append(FLATTERED[repeat_word(best.winner.trials)])
    return [lead], [*told, *_luck_of_many(found)]


def _others(found: Comparison) -> list[tuple[Contender, Effect | None]]:
    return list(zip(found.ranked[1:], found.effects, strict=True))


def _scored(each: Contender, winner: Setting) -> str:
    """Return `0.141 ± 0.012 with adam, lr=0.01 (mean ± standard deviation over 3 seeds)`."""
    seeds = counted(len(winner.scores), repeat_word(winner.trials))
    over = f"over {seeds}" if len(winner.scores) > 1 else f"with {seeds.replace('1', 'one', 1)}"
    spread = "mean ± standard deviation " if len(winner.scores) > 1 else ""
    who = label(winner.values) or "its only setting"
    return f"{with_spread(winner.mean, winner.spread)} with {who} ({spread}{over})"


def _against(best: Contender, other: Contender, effect: Effect | None, found: Comparison) -> str:
    """Return how far a sweep's best setting is behind the best of all."""
    if other.winner is None:
        return f"{other.name} has no setting that ended well with every seed."
    scored = f"{other.name} has {_scored(other, other.winner)}"
    if effect is None:
        return f"{scored}; one seed cannot tell a better setting from a luckier one."
    exact = effect.interval.low == effect.interval.high
    if exact and not effect.size:
        return f"{scored}: the very same."
    worse = "larger" if found.measure.lower else "smaller"
    by = percent(effect.size) if effect.ratio else f"{effect.size:.2g}"
    if exact:
        return f"{scored}, {worse} by {by} with these seeds, which change nothing here."
    how = f"95%: {interval_words(effect)}, {_how(effect)}"
    return f"{scored}, {worse} by {by} ({how}): {_sure(effect)}."


def _how(effect: Effect) -> str:
    """Return how seeds were compared."""
    common = by_seed(effect.better).keys() & by_seed(effect.worse).keys()
    word = repeat_word(effect.better.trials)
    if len(common) >= LEAST_SEEDS:
        return f"paired over {counted(len(common), word)}"
    return f"over {counted(len(effect.better.scores), word)} and {len(effect.worse.scores)} others"


def _sure(effect: Effect) -> str:
    if effect.interval.low > 0:
        return "they differ, though each was picked as its sweep's best"
    return "which is better cannot be told, since each was picked as its sweep's best"


def interval_words(effect: Effect) -> str:
    """Return the ends of the interval of a difference."""
    low, high = effect.interval.low, effect.interval.high
    if effect.ratio:
        return f"{percent(low)} to {percent(high)}"
    return f"{low:.2g} to {high:.2g}"


def _luck_of_many(found: Comparison) -> list[str]:
    """Return what sweeps that tried more would have found with as few settings as the fewest."""
    known = [c for c in found.ranked if c.whole]
    fewest = min(known, key=lambda c: len(c.whole))
    n = len(fewest.whole)
    told = []
    for each in known:
        if len(each.whole) > n:
            score = expected_best([s.mean for s in each.whole], found.measure.lower)[n - 1]
            drawn = f"{n:,} drawn at random of them" if n > 1 else "one drawn at random of them"
            told.append(
                f"{each.name} has {len(each.whole):,} settings that lost no trial and "
                f"{fewest.name} {n:,}: the best of {drawn} is expected at {float(score):.4g}."
            )
    return told


def differences(ranked: Sequence[Contender]) -> list[tuple[str, list[str]]]:
    """Return the options in which sweeps differ, and what each has of them.

    An option that a sweep varied is told by its values and the winner's; others as they are in the
    config of the winner's best run. Of a group that some sweep varied (`optimizer`), the options
    within it are told by their group's name alone, unless they were varied themselves; of one of
    which sweeps have different kinds (`scheduler`), those that all kinds have.
    """
    flat = [{k: v for k, v in flatten(c.config) if _is_told(k)} for c in ranked]
    varied = list(dict.fromkeys(key for c in ranked for key in c.study.swept))
    groups = tuple(f"{key}." for key in varied if any(_is_group(c.config, key) for c in ranked))
    keys = dict.fromkeys([*varied, *(k for own in flat for k in own if not k.startswith(groups))])
    kinds = [k for k in keys if k.endswith(KIND) and len({own.get(k) for own in flat}) > 1]
    other = tuple(kind.removesuffix(KIND) + "." for kind in kinds)
    rows = []
    for key in keys:
        if key.startswith(other) and key not in varied and any(key not in own for own in flat):
            continue  # an option that only one kind of scheduler has
        told = [_value(each, key, own) for each, own in zip(ranked, flat, strict=True)]
        if len(set(told)) > 1:
            rows.append((key.removesuffix(KIND), told))
    return rows


def _is_group(config: Mapping[str, Any], key: str) -> bool:
    return isinstance(config.get(key), Mapping)


def _is_told(key: str) -> bool:
    return not key.startswith(UNTOLD) and not (is_seed(key) and key not in SPLIT_BY)


def _value(each: Contender, key: str, flat: Mapping[str, Any]) -> str:
    if key in each.study.swept:
        values = ordered(t.values[key] for t in each.study.trials)
        told = _listed(values)
        best = each.winner.values[key] if each.winner else None
        return told if best is None else f"{told} (best: {text(best)})"
    if _is_group(each.config, key):
        typed = [w.partition("=")[2] for w in each.study.shared if w.startswith(f"{key}=")]
        return typed[-1] if typed else _typed(each.config[key].get("_target_", key))
    return _typed(flat[key]) if key in flat else "–"


def _listed(values: Sequence[Value]) -> str:
    if len(values) <= MOST_VALUES:
        return ", ".join(map(text, values))
    return f"{len(values):,} values, {text(values[0])} to {text(values[-1])}"


def _typed(value: Any) -> str:
    """Return a value of a config as a reader types it; of a class its last name."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:.12g}"
    told = str(value)
    return (
        told.rsplit(".", 1)[-1] if "." in told and told.replace(".", "_").isidentifier() else told
    )


def named(directories: Sequence[Path]) -> list[str]:
    """Return what sweeps are called: their directories' names, or whole paths where those agree."""
    names = [directory.resolve().name for directory in directories]
    if len(set(names)) == len(names):
        return names
    return [str(directory) for directory in directories]
