"""What the last epoch says: whether training was still improving, or had begun to overfit."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from descent.analysis.settings import BEST, Measure, Setting
from descent.errors import counted

RISE = 0.05  # share of the best epoch's loss
TOP = 10  # settings that a sentence speaks of
IMPROVING, OVERFITS = "still improving", "overfits"


def at_the_end(setting: Setting, measure: Measure) -> str:
    """Return `still improving`, `overfits` or nothing.

    Still improving: with every seed the last epoch is the best. Overfits: the loss after the last
    epoch is 5% above that of the best one, on average over the seeds.

    Args:
        setting: with its trials.
        measure: of the best epoch, such as `best/val/loss`; nothing is said by others.

    Source: Godbole et al. (2023), *Deep learning tuning playbook*, "examining the training curves".
    """
    if not measure.name.startswith(BEST) or setting.standing not in ("complete", "fewer"):
        return ""
    last, best = measure.name.removeprefix(BEST), measure.name
    pairs = [(t.figures.get(last), t.figures.get(best)) for t in setting.trials]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    if len(known) < len(pairs):
        return ""
    if all(after == least for after, least in known):
        return IMPROVING
    rises = [after / least - 1 for after, least in known if measure.lower and least > 0]
    return OVERFITS if rises and statistics.fmean(rises) > RISE else ""


def last_epoch_words(settings: Sequence[Setting], measure: Measure) -> list[str]:
    """Return what the best settings' last epochs say."""
    whole = [s for s in settings if s.standing == "complete"][:TOP]
    flags = [at_the_end(setting, measure) for setting in whole]
    told = []
    of = f"Of the best {counted(len(whole), 'setting')}"
    if count := flags.count(IMPROVING):
        first = ", the best among them" if flags[0] == IMPROVING else ""
        told.append(
            f"{of} {count} had their best epoch last with every seed{first}: longer training may "
            "change the order."
        )
    if count := flags.count(OVERFITS):
        first = ", the best among them" if flags[0] == OVERFITS else ""
        told.append(
            f"{of} {count} ended more than {100 * RISE:.0f}% above their best epoch's loss"
            f"{first}: they overfit, or their steps are too large at the end."
        )
    return told
