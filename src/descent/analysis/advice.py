"""What a sweep says, in plain sentences, and what to run next."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from descent.analysis.confidence import LEAST_SEEDS, Contest, Effect, contest, effect
from descent.analysis.drawn_search import few_best, narrower, ranges
from descent.analysis.grid import Grid
from descent.analysis.last_epochs import last_epoch_words
from descent.analysis.loss_records import at_start
from descent.analysis.neighbours import places
from descent.analysis.performance import problems_of
from descent.analysis.search import (
    Next,
    confirm,
    further,
    repeat,
    seeds_to_tell,
    unfinished,
    without_winner,
)
from descent.analysis.settings import Measure, Setting
from descent.analysis.settings import settings as settings_of
from descent.analysis.study import seeds_do_nothing
from descent.analysis.targets import hits
from descent.analysis.trials import (
    ENDED,
    LEARNING_RATES,
    OPTIMIZER,
    Study,
    Trial,
    Value,
    label,
    learning_rate,
    number_in,
    ordered,
    repeat_word,
    short,
    text,
)
from descent.analysis.tuning import tuning_words
from descent.analysis.wording import (
    confirmed_words,
    contest_words,
    effect_words,
    equal_words,
    no_winner_words,
    split_words,
    test_words,
    winner_words,
)
from descent.errors import counted
from descent.records.endings import Status
from descent.records.tables import FULL_LOSS

FEW = 3  # values that are told one by one


def failures(study: Study, grids: Sequence[Grid] = ()) -> list[str]:
    """Return a sentence for each kind of trial that did not end well.

    Args:
        study: the trials.
        grids: whose boundaries are held against where trials diverged.
    """
    total, told = len(study.trials), []
    diverged = [trial for trial in study.trials if trial.status == Status.DIVERGED]
    failed = [trial for trial in study.trials if trial.status == Status.FAILED]
    pending = sum(trial.status not in ENDED for trial in study.trials)
    if diverged:
        share = f"{100 * len(diverged) / total:.3g}%"
        where = _where(study, diverged)
        told.append(f"{len(diverged):,} of {total:,} trials diverged ({share}){where}.")
    told += _predicted(grids)
    told += _risen(study)
    if failed:
        why, count = Counter(trial.reason for trial in failed).most_common(1)[0]
        most = "" if count == len(failed) else f", {count:,} of them"
        told.append(f"{counted(len(failed), 'trial')} failed{most}: {why.rstrip('.')}.")
    if pending:
        verb = "has" if pending == 1 else "have"
        told.append(f"{pending:,} of {total:,} trials {verb} not ended; all this may change.")
    return told


def _where(study: Study, lost: Sequence[Trial]) -> str:
    """Return what the lost trials have in common: a least lr, few values of other options."""
    words = []
    for key in study.swept:
        own, every = (ordered(t.values[key] for t in part) for part in (lost, study.trials))
        if len(own) == len(every):
            continue
        if key == learning_rate(study) and len(own) > 1 and own == every[-len(own) :]:
            words.append(f"{short(key)} of {text(own[0])} or more")
        elif len(own) <= FEW:
            words.append(f"{short(key)}={' or '.join(map(text, own))}")
    together = "with" if len(lost) == 1 else "all with"
    return f", {together} {' and '.join(words)}" if words else ""


def _risen(study: Study) -> list[str]:
    """Return how many trials ended well by their status, but above the loss that they began at."""
    ok = [t for t in study.trials if t.status == Status.OK and FULL_LOSS in t.figures]
    risen = []
    for trial in ok:
        start = at_start(trial.directory)
        if start < trial.figures[FULL_LOSS]:
            risen.append((trial.figures[FULL_LOSS] / start if start > 0 else math.inf, trial))
    if not risen:
        return []
    worst = max(ratio for ratio, _ in risen)
    many = f"{len(risen):,} trial that is" if len(risen) == 1 else f"{len(risen):,} trials that are"
    at = "at" if len(risen) == 1 else "at up to"
    up_to = f", {at} {worst:.3g} times it" if math.isfinite(worst) else ""
    where = _where(study, [trial for _, trial in risen])
    return [f"{many} not counted as diverged ended above the full loss at the start{up_to}{where}."]


@dataclass(frozen=True)
class _Sides:
    """What diverged of a panel's trials, and how many there are, above and below its limits."""

    title: str
    lr: str
    limits: tuple[float, ...]
    above: tuple[int, int]
    below: tuple[int, int]


def _predicted(grids: Sequence[Grid]) -> list[str]:
    """Return how boundaries compare with what diverged; panels without a trial above as one."""
    known = [sides for grid in grids if (sides := _sides(grid)) is not None]
    held = [one for one in known if one.above[1]]
    low = [one for one in known if not one.above[1]]
    below = (sum(one.below[0] for one in low), sum(one.below[1] for one in low))
    told = list(map(_predicted_words, held))
    if below[0]:
        limits = tuple(limit for one in low for limit in one.limits)
        title = low[0].title if len(low) == 1 else ""
        told.append(_predicted_words(_Sides(title, low[0].lr, limits, (0, 0), below)))
    return told


def _sides(grid: Grid) -> _Sides | None:
    """Count a panel's trials on either side of its boundary; None where it has none."""
    if grid.boundary is None or (grid.y is None and grid.x not in LEARNING_RATES):
        return None
    above, below = [0, 0], [0, 0]  # diverged, all
    for (column, row), setting in grid.cells.items():
        at = column if grid.y is None else row
        limit = float(grid.boundary[0 if grid.y is None else column])
        lr = number_in((grid.xs if grid.y is None else grid.ys)[at])
        if lr is not None and not math.isnan(limit):
            side = above if lr > limit else below
            side[0] += sum(trial.status == Status.DIVERGED for trial in setting.trials)
            side[1] += len(setting.trials)
    limits = tuple(float(limit) for limit in grid.boundary if limit == limit)
    name = short(grid.y or grid.x)
    return _Sides(grid.title, name, limits, (above[0], above[1]), (below[0], below[1]))


def _predicted_words(sides: _Sides) -> str:
    (lost, above), (lost_below, below) = sides.above, sides.below
    names = list(dict.fromkeys(f"{limit:.3g}" for limit in sorted(sides.limits)))
    span = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
    who = f"{sides.title}: full" if sides.title else "Full"
    over = f"{lost:,} of {above:,} trials above it" if above else "no trial was above it"
    return (
        f"{who}-batch steps on a quadratic as curved as the loss at the start are stable up to "
        f"{sides.lr} {span}; here {over} and {lost_below:,} of {below:,} below it diverged."
    )


ONE_SEED = (
    "One seed cannot tell a better setting from a luckier one; repeat the best ones with several "
    "seeds."
)
FLATTERED = {
    word: (
        f"The best was picked by these very {word}s, which flatters its score; fresh {fresh}s tell "
        "it honestly."
    )
    for word, fresh in {"seed": "seed", "split": "split", "fold": "split"}.items()
}
OF_ALL = (ONE_SEED, *FLATTERED.values())  # told once, however many problems there are
INSIDE = "It lies inside what was tried, and its neighbours are near enough."


@dataclass(frozen=True)
class Advice:
    """The answer, most important first.

    Args:
        winner: the best setting that lost no trial; None if every setting lost one, and of several
            problems.
        tied: other settings that may be the best, best first.
        lead: a sentence for each problem: its winner.
        doubts: what cannot be told from the winner, and why.
        edges: whether the winner lies inside what was tried.
        details: effects, diverged trials and what else there is to say.
        next_sweeps: a ready command for each problem; empty if there is none.
        end: `done: ...` where the search has ended; empty if it has not.
        winners: of each problem.
        repeats: the command that trains each of them again.
    """

    winner: Setting | None
    tied: tuple[Setting, ...]
    lead: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    edges: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    next_sweeps: tuple[Next, ...] = ()
    end: tuple[str, ...] = ()
    winners: tuple[Setting, ...] = ()
    repeats: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that is said, in its order."""
        return (*self.lead, *self.doubts, *self.edges, *self.details, *self.end)


def advice(
    study: Study, settings: Sequence[Setting], grids: Sequence[Grid], measure: Measure
) -> Advice:
    """Return what a sweep says: the winner, how sure that is, and what to run next.

    Of several problems each has its winner, told by name; then there is none over all.

    Args:
        study: the trials.
        settings: of `settings`, best first.
        grids: of `grids`, with their boundaries if those were asked for.
        measure: what settings were compared by.
    """
    lost = tuple(failures(study, grids))
    parts = problems_of(study)
    if len(parts) == 1:
        found = _of_one(study, settings, measure)
        return replace(found, details=(*found.details, *lost))
    told: list[Advice] = []
    for name, part in parts:
        trials = {trial.number: trial for trial in part.trials}
        own = [_within(s, trials) for s in settings if s.trials[0].number in trials]
        told.append(_named(name, _of_one(part, own, measure)))

    def all_of(kind: str) -> tuple[str, ...]:
        words = [sentence for one in told for sentence in getattr(one, kind)]
        first = [w for w in words if w not in OF_ALL]
        return (*first, *dict.fromkeys(w for w in words if w in OF_ALL))

    return Advice(
        None, (), all_of("lead"), all_of("doubts"), all_of("edges"), (*all_of("details"), *lost),
        tuple(following for one in told for following in one.next_sweeps), all_of("end"),
        tuple(winner for one in told for winner in one.winners),
        tuple(command for one in told for command in one.repeats),
    )  # fmt: skip


def _named(name: str, found: Advice) -> Advice:
    def named(words: Sequence[str]) -> tuple[str, ...]:
        return tuple(w if w in OF_ALL else f"{name}: {w}" for w in words)

    return replace(
        found, lead=named(found.lead), doubts=named(found.doubts), edges=named(found.edges),
        details=named(found.details), end=named(found.end),
        next_sweeps=tuple(replace(n, aim=f"{name}: {n.aim}") for n in found.next_sweeps),
    )  # fmt: skip


def _within(setting: Setting, trials: Mapping[int, Trial]) -> Setting:
    """Return a setting of a whole study as one of its part."""
    own = tuple(trials[trial.number] for trial in setting.trials)
    return replace(setting, values=own[0].values, trials=own)


def _of_one(study: Study, settings: Sequence[Setting], measure: Measure) -> Advice:
    """Return the advice on one problem, but for the trials that did not end well."""
    whole = [setting for setting in settings if setting.standing == "complete"]
    pending = any(trial.status not in ENDED for trial in study.trials)
    rest = unfinished(study) if pending else None
    if not whole:
        following = rest or without_winner(study)
        return Advice(None, (), (no_winner_words(settings),), next_sweeps=_known(following))
    winner = whole[0]
    able = [s for s in settings if s.standing in ("complete", "fewer")]
    met = contest(able, measure) if len(able) > 1 else None
    found = Advice(
        winner, met.tied if met else (), (winner_words(winner, measure),), winners=(winner,),
        repeats=(repeat(study, winner),),
    )  # fmt: skip
    fixed = ""
    if len(able) > 1:
        fixed = seeds_do_nothing(study) if met is None else ""
        found = replace(found, doubts=tuple(_doubts(winner, able, met, measure, fixed)))
    if study.confirms is not None:
        return _confirmed(study, found, measure)
    inside = places(study, settings, winner, measure)
    edges = [place.why for place in inside if place.why]
    told = [effect_words(one, measure) for one in effects(whole, measure)]
    told += last_epoch_words(settings, measure)
    told += tuning_words(study, settings, measure)
    told += filter(None, [split_words(study, winner, measure), test_words(winner)])
    following = rest or further(study, winner, found.tied, inside)
    few, called = found.tied, ""
    if drawn := ranges(study, settings):  # at random: a grid around one of them would say less
        edges = [each.why for each in drawn]
        following = rest or narrower(study, settings, drawn)
        if met is None:
            few = few_best(settings, winner)
            called = f"the best {1 + len(few)} settings"
    end: tuple[str, ...] = ()
    if following is None and (fixed or (met is not None and met.fixed)):
        end = ("done: the seeds change nothing, so there is nothing to confirm with others.",)
    elif following is None:
        seeds = seeds_to_tell((winner, *few), measure)
        following = confirm(study, winner, few, told=called, seeds=seeds)
    return replace(
        found, edges=tuple(edges) or ((INSIDE,) if inside else ()), details=tuple(told),
        next_sweeps=_known(following), end=end,
    )  # fmt: skip


def _known(following: Next | None) -> tuple[Next, ...]:
    return () if following is None else (following,)


def _doubts(
    winner: Setting, able: Sequence[Setting], met: Contest | None, measure: Measure, fixed: str
) -> list[str]:
    if met is None:
        return [fixed or ONE_SEED, *equal_words(winner, able)]
    told = contest_words(winner, met, measure)
    flattered = len(winner.scores) >= LEAST_SEEDS and not met.fixed
    return [*told, FLATTERED[repeat_word(winner.trials)]] if flattered else told


def effects(whole: Sequence[Setting], measure: Measure) -> list[Effect]:
    """Return how far each optimizer's best setting is behind the winner's, nearest first."""
    groups: dict[object, list[Setting]] = {}
    for setting in whole:
        groups.setdefault(setting.values.get(OPTIMIZER), []).append(setting)
    first, *others = groups.values()
    found = (effect(first, other, measure) for other in others)
    return [one for one in found if one is not None]


def _confirmed(study: Study, found: Advice, measure: Measure) -> Advice:
    """Return the end of a search: what fresh seeds say of the setting that was chosen before."""
    before, winner = study.confirms, found.winner
    assert before is not None
    assert winner is not None
    times = {} if measure.target is None else hits(before, measure.target)
    known = [s for s in settings_of(before, measure, times) if s.standing == "complete"]
    may_be = [winner, *found.tied]
    sign = 1 if measure.lower else -1
    chosen = next((s for s in may_be if known and _same(s, known[0].values)), None)
    best = min(may_be, key=lambda s: sign * _over_all(s, known))  # with the seeds of both sweeps
    kept = chosen is not None and (best is chosen or sign * (best.mean - chosen.mean) >= 0)
    taken = chosen if kept and chosen is not None else best
    end = confirmed_words(taken, measure, kept, label(known[0].values) if known else "")
    return replace(
        found, winner=taken, winners=(taken,), end=(end,),
        lead=(winner_words(taken, measure),), repeats=(repeat(study, taken),),
        doubts=tuple(w for w in found.doubts if w not in FLATTERED.values()),
        details=tuple(filter(None, [split_words(study, taken, measure), test_words(taken)])),
        tied=tuple(s for s in may_be if s is not taken),
    )  # fmt: skip


def _over_all(setting: Setting, known: Sequence[Setting]) -> float:
    """Return the mean of a setting's scores with those that an earlier sweep gave it."""
    before = next((s for s in known if _same(setting, s.values)), None)
    scores = [*setting.scores.values(), *(before.scores.values() if before else ())]
    return math.fsum(scores) / len(scores)


def _same(setting: Setting, values: Mapping[str, Value]) -> bool:
    """Whether a setting has the values of an earlier one; what is no longer swept is shared."""
    return all(values.get(key) == value for key, value in setting.values.items())
