"""What a sweep says, in plain sentences, and what to run next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from descent.study.casualties import casualties
from descent.study.fineness import coarse, edge_sentence, edges
from descent.study.grid import Grid
from descent.study.next_sweep import Next, after_winner, unfinished, without_winner
from descent.study.options import label
from descent.study.problems import problems_of
from descent.study.settings import Measure, Setting
from descent.study.ties import LEAST_SEEDS, Contest, contest, interval
from descent.study.trials import ENDED, Study, Trial

NAMED = 4  # settings named in a sentence
ONE_SEED = (
    "One seed cannot tell a better setting from a luckier one, so nothing is said of ties; repeat "
    "the best ones with several seeds."
)
FLATTERED = "The best was picked by these very seeds, which flatters it: confirm it with others."
OF_ALL = (ONE_SEED, FLATTERED)  # told once, however many problems there are


@dataclass(frozen=True)
class Advice:
    """The answer.

    Args:
        winner: the best setting that lost no trial; None if every setting lost one.
        tied: other settings that cannot be told from it, best first.
        sentences: the winner with its uncertainty, who is tied, whether the grid was wide and fine
            enough, what diverged.
        next_sweep: a ready command, and what it is for in a sentence; empty if there is none.
    """

    winner: Setting | None
    tied: tuple[Setting, ...]
    sentences: tuple[str, ...]
    next_sweep: Next


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
    lost = casualties(study, grids)
    parts = problems_of(study)
    if len(parts) == 1:
        found = _of_one(study, settings, measure)
        return replace(found, sentences=(*found.sentences, *lost))
    sentences: list[str] = []
    common: dict[str, None] = {}
    following: Next = ()
    for name, part in parts:
        trials = {trial.number: trial for trial in part.trials}
        own = [_within(s, trials) for s in settings if s.trials[0].number in trials]
        found = _of_one(part, own, measure)
        own_words = [sentence for sentence in found.sentences if sentence not in OF_ALL]
        common |= dict.fromkeys(sentence for sentence in found.sentences if sentence in OF_ALL)
        sentences += [f"{name}: {sentence}" for sentence in own_words]
        if found.next_sweep and not following:
            following = (found.next_sweep[0], f"{name}: {found.next_sweep[1]}")
    return Advice(None, (), (*sentences, *common, *lost), following)


def _within(setting: Setting, trials: Mapping[int, Trial]) -> Setting:
    """Return a setting of a whole study as one of its part."""
    own = tuple(trials[trial.number] for trial in setting.trials)
    return replace(setting, values=own[0].values, trials=own)


def _of_one(study: Study, settings: Sequence[Setting], measure: Measure) -> Advice:
    """Return the advice on one problem, but for the trials that did not end well."""
    whole = [setting for setting in settings if setting.standing == "complete"]
    pending = any(trial.status not in ENDED for trial in study.trials)
    rest = unfinished(study) if pending else ()
    if not whole:
        return Advice(None, (), (_no_winner(settings),), rest or without_winner(study))
    winner = whole[0]
    met = contest(whole, measure) if len(whole) > 1 else None
    tied = met.tied if met else ()
    sentences = [_winner(winner, measure)]
    if len(whole) > 1:
        sentences.append(_ties(met) if met else ONE_SEED)
    sides, gaps = edges(study, winner), coarse(study, settings, winner, measure)
    sentences += [edge_sentence(winner, key, side) for key, side in sides.items()]
    sentences += gaps.values()
    if len(whole) > 1 and len(winner.scores) >= LEAST_SEEDS:
        sentences.append(FLATTERED)
    following = rest or after_winner(study, winner, tied, sides, gaps)
    return Advice(winner, tied, tuple(sentences), following)


def _no_winner(settings: Sequence[Setting]) -> str:
    if all(setting.standing == "pending" for setting in settings):
        return "No setting has all its trials ended yet, so there is no winner."
    some = next((setting for setting in settings if setting.scores), None)
    if some is None:
        return "No trial ended well with a score, so there is no winner."
    return (
        "No setting ended well with every seed, so there is no winner; the best of what is left is "
        f"{label(some.values) or 'the only one'}: {some.mean:.4g} over {len(some.scores)} of its "
        f"{len(some.trials)} trials."
    )


def _winner(winner: Setting, measure: Measure) -> str:
    name = label(winner.values)
    who = f"The best setting is {name}: {measure.label} =" if name else f"The {measure.label} is"
    scores = list(winner.scores.values())
    if len(scores) < LEAST_SEEDS:
        return f"{who} {winner.mean:.4g}, with one seed."
    low, high = interval(scores)
    return (
        f"{who} {winner.mean:.4g} ± {winner.spread:.2g} (standard deviation over {len(scores)} "
        f"seeds; 95% interval of the mean {low:.4g} to {high:.4g})."
    )


def _ties(met: Contest) -> str:
    how = f" (paired over {met.seeds} seeds, Holm's correction, 5% level)"
    told = []
    if met.tied:
        names = [f"{label(s.values)} ({s.mean:.4g})" for s in met.tied[:NAMED]]
        if len(met.tied) > NAMED:
            names.append(f"{len(met.tied) - NAMED:,} more")
        listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
        noun = "setting" if len(met.tied) == 1 else "settings"
        told.append(f"{len(met.tied):,} other {noun} cannot be told from it{how}: {listed}.")
        how = ""
    if met.worse:
        one = len(met.worse) == 1
        verb = "one that lost no trial is" if one else f"{len(met.worse):,} that lost no trial are"
        told.append(f"The other {verb} worse{how}.")
    if met.apart:
        told.append(f"{len(met.apart):,} with other seeds were not compared.")
    return " ".join(told)
