"""The table of settings: mean and spread of each measure over seeds, and what was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from descent.report.style import share, shown
from descent.study.advice import Advice
from descent.study.settings import Measure, Setting

MOST_SETTINGS = 100  # rows; the table of all runs holds the rest


@dataclass(frozen=True)
class SettingRow:
    """A row as it is shown.

    Args:
        mark: `best`, `tied` or empty.
        values: of the swept options.
        runs: how many.
        diverged: the share of them, or nothing.
        measures: mean ± spread of each measure, and over how many runs where some have none.
    """

    mark: str
    values: list[str]
    runs: str
    diverged: str
    measures: list[tuple[str, str]]


def setting_rows(
    swept: Sequence[str],
    measures: Sequence[Measure],
    settings: Mapping[str, Sequence[Setting]],
    advice: Advice,
) -> list[SettingRow]:
    """Return the settings in the order of the first measure, best first.

    Args:
        swept: the columns.
        measures: a column each.
        settings: by the measure's name.
        advice: knows the winner and who is tied.
    """
    if not measures:
        return []
    others = [{_who(s): s for s in settings[measure.name]} for measure in measures]
    winner = _who(advice.winner) if advice.winner else None
    tied = {_who(setting) for setting in advice.tied}
    rows = []
    for setting in settings[measures[0].name][:MOST_SETTINGS]:
        who = _who(setting)
        same = [by.get(who) for by in others]
        rows.append(
            SettingRow(
                mark="best" if who == winner else "tied" if who in tied else "",
                values=[shown(setting.values.get(option)) for option in swept],
                runs=shown(len(setting.trials)),
                diverged=share(setting.diverged) if setting.diverged else "",
                measures=[_told(s) if s else ("–", "") for s in same],
            )
        )
    return rows


def _who(setting: Setting) -> tuple[int, ...]:
    return tuple(trial.number for trial in setting.trials)


def _told(setting: Setting) -> tuple[str, str]:
    """Return mean ± standard deviation, and how many of the runs that is where it is not all."""
    known, runs = len(setting.scores), len(setting.trials)
    if not known:
        return "–", ""
    mean = shown(setting.mean)
    if known > 1:
        mean += f" ± {shown(float(f'{setting.spread:.2g}'))}"
    return mean, f"{known} of {runs}" if known < runs else ""
