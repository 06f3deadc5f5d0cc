"""Sentences on a winner, on who may be the best instead, and on how far the others are behind."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from descent.analysis.confidence import LEAST_SEEDS, Contest, Effect, of_median, of_share
from descent.analysis.neighbours import rows_of
from descent.analysis.settings import BEST, SAME, Measure, Setting, is_one_number
from descent.analysis.trials import FOLD, OPTIMIZER, SPLIT, Study, label, repeat_word, text
from descent.errors import counted, joined

NAMED = 4  # settings named in a sentence
ACCURACY = "accuracy"


def with_spread(mean: float, spread: float) -> str:
    """Return `0.141 ± 0.012`: two digits of the spread, and no more of the mean than it leaves."""
    if not math.isfinite(spread):
        return f"{mean:.4g}"
    if spread <= SAME * abs(mean):
        return f"{mean:.4g} ± 0"
    places = 1 - math.floor(math.log10(float(f"{spread:.1e}")))  # 0.0996 becomes 0.10
    if (0 < abs(mean) < 1e-4) or places > 8:
        return f"{mean:.4g} ± {spread:.2g}"
    if places >= 0:
        return f"{mean:,.{places}f} ± {spread:,.{places}f}"
    unit = 10**-places
    return f"{round(mean / unit) * unit:,} ± {round(spread / unit) * unit:,}"


def named(setting: Setting) -> str:
    """Return what a setting is called."""
    return label(setting.values) or "the only setting"


def winner_words(winner: Setting, measure: Measure) -> str:
    """Return the winner with its score; ± is the spread over seeds, not an interval.

    Folds are no draws from all folds that there could be, so no interval is told of them.
    """
    name, word = label(winner.values), repeat_word(winner.trials)
    who = f"The best setting is {name}: {measure.label} =" if name else f"The {measure.label} is"
    count = len(winner.scores)
    epoch = " at its best epoch" if measure.name.startswith(BEST) else ""
    if count < LEAST_SEEDS:
        return f"{who} {winner.mean:.4g}, with one {word}{epoch and f',{epoch}'}."
    told = with_spread(winner.mean, winner.spread)
    if is_one_number(winner):
        return f"{who} {winner.mean:.4g} with each of {count} {word}s{epoch and f',{epoch}'}."
    at = epoch and f", each{epoch}"
    interval = of_median(list(winner.scores.values()))
    if not name and word != "fold" and interval is not None:
        sure = f"{100 * interval.level:.3g}%"
        ends = f"{interval.low:.4g} to {interval.high:.4g}"
        return (
            f"{who} {told} (mean ± standard deviation over {count} {word}s{at}; the median of all "
            f"{word}s lies within {ends} with {sure} confidence)."
        )
    return f"{who} {told} (mean ± standard deviation over {count} {word}s{at})."


def no_winner_words(settings: Sequence[Setting]) -> str:
    """Return why there is no winner."""
    if all(setting.standing == "pending" for setting in settings):
        return "No setting has all its trials ended yet, so there is no winner."
    some = next((setting for setting in settings if setting.scores), None)
    if some is None:
        return "No trial ended well with a score, so there is no winner."
    return (
        f"No setting ended well with every {repeat_word(some.trials)}, so there is no winner; the "
        f"best of what is left is {label(some.values) or 'the only one'}: {some.mean:.4g} over "
        f"{len(some.scores)} of its {len(some.trials)} trials."
    )


def equal_words(winner: Setting, others: Sequence[Setting]) -> list[str]:
    """Return who has the very score of the winner."""
    same = [s for s in others if s is not winner and s.mean == winner.mean]
    return [f"The very same score has {_listed(same, scores=False)}."] if same else []


def contest_words(winner: Setting, met: Contest, measure: Measure) -> list[str]:
    """Return what the seeds can tell of the best, and what not."""
    told = []
    compared, word = 1 + len(met.tied) + len(met.out), repeat_word(winner.trials)
    over = counted(met.seeds, word)
    whole = "that lost no trial"
    if measure.target is not None:
        whole = f"that reached the target with every {word}"
    if met.fixed:
        told.append(
            f"The {word}s change nothing here: each setting gave one number with all {over}. "
            "Differences are exact for these first weights and this split, and nothing is known of "
            "others."
        )
        told += equal_words(winner, met.equal)
    elif met.tied and not met.out:
        told.append(
            f"{over} cannot tell which is the best: with 95% confidence it may be any "
            f"of the {compared:,} settings {whole}."
        )
    elif met.tied:
        rest = f"The other one {whole} is not."
        if len(met.out) > 1:
            rest = f"The other {len(met.out):,} {whole} are not."
        told.append(
            f"With 95% confidence the best of what was tried is among these {1 + len(met.tied):,} "
            f"(paired over {over}): {_listed((winner, *met.tied))}. {rest}"
        )
    elif met.out:
        told.append(
            f"With 95% confidence it is the best of the {compared:,} settings {whole} (paired over "
            f"{over})."
        )
    if met.tied and not met.fixed:
        told += equal_words(winner, met.equal)
    if met.apart:
        told.append(
            f"1 setting with other {word}s was not compared."
            if len(met.apart) == 1
            else f"{len(met.apart):,} settings with other {word}s were not compared."
        )
    if word == "fold" and not met.fixed and (met.tied or met.out):
        told.append(FOLDS_SHARE)
    return told


# Source: Nadeau and Bengio (2003), *Inference for the generalization error*.
FOLDS_SHARE = (
    "Folds have most of their training rows in common, so this confidence is larger than the truth."
)


def _listed(settings: Sequence[Setting], scores: bool = True) -> str:
    names = [f"{named(s)} ({s.mean:.4g})" if scores else named(s) for s in settings]
    return joined(names, NAMED)


def effect_words(found: Effect, measure: Measure) -> str:
    """Return how far one optimizer's best setting is behind another's."""
    better, worse = (text(s.values[OPTIMIZER]) for s in (found.better, found.worse))
    low, high, size = found.interval.low, found.interval.high, found.size
    if found.ratio:
        by = f"{percent(size)} (95%: {percent(low)} to {percent(high)})"
        what = f"the {measure.label} of {worse} is larger than that of {better} by {by}"
    else:
        by = f"{size:.2g} (95%: {low:.2g} to {high:.2g})"
        verb = "larger" if measure.lower else "smaller"
        what = f"the {measure.label} of {worse} is {verb} than that of {better} by {by}"
    word = repeat_word(found.better.trials)
    won = f"{found.won:g} of {found.pairs} pairs of {word}s"
    if size == 0:
        ends = (
            f"95%: {percent(low)} to {percent(high)}"
            if found.ratio
            else f"95%: {low:.2g} to {high:.2g}"
        )
        return (
            f"Each at its own best setting, {worse} and {better} have the same {measure.label} "
            f"(of the difference {ends})."
        )
    return f"Each at its own best setting, {what}; {better} is better in {won}."


def percent(share: float) -> str:
    """Return 0.123 as 12%, and 12.3 as 1,230%."""
    return f"{float(f'{100 * share:.2g}'):,.5g}%"


def split_words(study: Study, winner: Setting, measure: Measure) -> str:
    """Return what one validation set for all seeds leaves open; empty where splits were varied."""
    varied = any(key in trial.seed for trial in study.trials for key in (SPLIT, FOLD))
    if varied or "val/" not in measure.name:
        return ""
    rows = rows_of(study, "val")
    if rows is None:
        return ""
    told = f"All seeds share one split, with {rows:,} validation rows"
    if measure.name.endswith(ACCURACY) and 0 <= winner.mean <= 1:
        interval = of_share(winner.mean, rows)
        ends = f"{interval.low:.3g} to {interval.high:.3g}"
        return f"{told}: by their number alone the accuracy on others may be {ends} (95%)."
    return f"{told}: on others the figures would differ; sweep=splits tells by how much."


def test_words(winner: Setting) -> str:
    """Return the test score of the chosen setting, and of no other; empty where none was kept."""
    told = []
    for name in dict.fromkeys(n for t in winner.trials for n in t.figures if n.startswith("test/")):
        known = [t.figures[name] for t in winner.trials if name in t.figures]
        if len(known) == len(winner.trials):
            spread = statistics.stdev(known) if len(known) > 1 else math.nan
            told.append(f"{name} {with_spread(statistics.fmean(known), spread)}")
    if not told:
        return ""
    count = counted(len(winner.trials), repeat_word(winner.trials))
    over = "" if len(winner.trials) == 1 else f" (mean over {count})"
    return f"On the test rows, which had no part in the choice: {', '.join(told)}{over}."


def confirmed_words(winner: Setting, measure: Measure, kept: bool, chosen: str) -> str:
    """Return the end of a search.

    Args:
        winner: the chosen setting, with its scores of fresh seeds.
        measure: what it was compared by.
        kept: whether it was chosen before; else it took the place of another.
        chosen: what was chosen before.
    """
    scores = list(winner.scores.values())
    told = with_spread(winner.mean, winner.spread)
    word = repeat_word(winner.trials)
    over = f"over {len(scores)} fresh {word}s"
    interval = None if word == "fold" else of_median(scores)
    sure = ""
    if interval is not None:
        ends = f"{interval.low:.4g} to {interval.high:.4g}"
        level = f"{100 * interval.level:.3g}%"
        sure = f"; the median of all {word}s lies within {ends} with {level} confidence"
    if kept:
        return (
            f"done: {chosen or named(winner)} was chosen before, and fresh {word}s show none "
            f"better: {measure.label} = {told} {over}{sure}."
        )
    return (
        f"done: over all {word}s {named(winner)} is better than {chosen}, which was chosen before: "
        f"{measure.label} = {told} {over}. It was picked by them too, which flatters it."
    )
