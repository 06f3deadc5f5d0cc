"""The table of settings as files: CSV with full precision, and LaTeX as it is printed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from descent.analysis.settings import Measure, Setting
from descent.analysis.trials import text
from descent.analysis.wording import with_spread
from descent.report.printed import csv_text, escaped, tabular

if TYPE_CHECKING:
    from descent.analysis.advice import Advice

SETTINGS = "settings"  # the name of its files
MOST_ROWS = 40  # of a page


def who(setting: Setting) -> tuple[int, ...]:
    """Return the numbers of a setting's trials, by which it is known under every measure."""
    return tuple(trial.number for trial in setting.trials)


def mark_of(setting: Setting, advice: Advice) -> str:
    """Return `best`, `tied` or nothing."""
    if advice.winner is not None and who(setting) == who(advice.winner):
        return "best"
    return "tied" if who(setting) in {who(tied) for tied in advice.tied} else ""


def settings_csv(
    swept: Sequence[str],
    measures: Sequence[Measure],
    settings: Mapping[str, Sequence[Setting]],
    advice: Advice,
) -> str:
    """Return all settings in the order of the first measure.

    Columns are the swept options, `mark`, `runs`, `diverged` (runs), and of each measure its mean,
    `sd` (of a sample) and `n` (runs that have it); cells without a value are empty.
    """
    names = [f"{m.name}{part}" for m in measures for part in ("", " sd", " n")]
    rows = [[*swept, "mark", "runs", "diverged", *names]]
    others = [{who(s): s for s in settings[measure.name]} for measure in measures]
    for setting in settings[measures[0].name] if measures else ():
        runs = len(setting.trials)
        row = [text(setting.values[key]) for key in swept]
        row += [mark_of(setting, advice), str(runs), str(round(setting.diverged * runs))]
        for by in others:
            own = by[who(setting)]
            row += [_number(own.mean), _number(own.spread), str(len(own.scores))]
        rows.append(row)
    return csv_text(rows)


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else ""


def settings_latex(
    swept: Sequence[str],
    measures: Sequence[Measure],
    settings: Mapping[str, Sequence[Setting]],
    advice: Advice,
) -> str:
    r"""Return a `tabular` of the 40 best settings, for `\usepackage{booktabs}`.

    The best setting is bold; those that may be the best too, by what seeds allow, have a star.
    """
    known = settings[measures[0].name] if measures else ()
    others = [{who(s): s for s in settings[measure.name]} for measure in measures]
    heads = [*swept, "runs", *(measure.label for measure in measures)]
    rows = []
    for setting in known[:MOST_ROWS]:
        cells = [escaped(text(setting.values[key])) for key in swept] + [str(len(setting.trials))]
        cells += [_told(by[who(setting)]) for by in others]
        mark = mark_of(setting, advice)
        cells = [rf"\textbf{{{cell}}}" for cell in cells] if mark == "best" else cells
        cells[0] += "$^*$" if mark == "tied" else ""
        rows.append(cells)
    columns = "l" * len(swept) + "r" * (1 + len(measures))
    return tabular([escaped(head) for head in heads], rows, columns)


def _told(setting: Setting) -> str:
    if not setting.scores:
        return "--"
    told = escaped(with_spread(setting.mean, setting.spread))
    missing = len(setting.trials) - len(setting.scores)
    return f"{told} ({len(setting.scores)} of {len(setting.trials)})" if missing else told


def setting_files(
    swept: Sequence[str],
    measures: Sequence[Measure],
    settings: Mapping[str, Sequence[Setting]],
    advice: Advice,
) -> dict[str, str]:
    """Return both, by the names of their files."""
    return {
        f"{SETTINGS}.csv": settings_csv(swept, measures, settings, advice),
        f"{SETTINGS}.tex": settings_latex(swept, measures, settings, advice),
    }
