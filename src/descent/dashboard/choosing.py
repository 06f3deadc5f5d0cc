"""Which runs a dashboard shows, in which order, and what they are called there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from descent.analysis.summary import by_setting, score, settings
from descent.dashboard.rows import Row, Rows
from descent.errors import UserError
from descent.metrics import lower_is_better
from descent.records.endings import Status

CHOICES = ("best", "diverged", "all")
MOST = 40  # TensorBoard's Custom Scalars tab ticks no run by itself where there are more
LOST_SHARE = 5  # one place in five is kept for settings that lost every run
LONGEST = 200  # bytes of a name: file systems allow 255
FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f]')  # in the name of a directory, on any system


@dataclass(frozen=True)
class Shown:
    """A run in the dashboard.

    Args:
        name: in TensorBoard's list of runs: the rank, then what was varied.
        row: its options and figures.
    """

    name: str
    row: Row

    @property
    def directory(self) -> Path:
        """Where the run lies."""
        return Path(self.row["directory"])


@dataclass(frozen=True)
class Chosen:
    """What a dashboard shows.

    Args:
        of: all runs there are.
        runs: the chosen, best first.
        told: which they are, in words.
    """

    of: Rows
    runs: tuple[Shown, ...]
    told: str


def choose(rows: Rows, which: str, most: int | None) -> Chosen:
    """Return the runs to show.

    Args:
        rows: all runs there are.
        which: `best` for the best run of each setting, and of some settings that lost every run
            the one that came furthest; `diverged`; or `all`.
        most: how many at most; None for no limit.

    Raises:
        UserError: runs that diverged are asked for, and there is none.
    """
    limit = len(rows.rows) if most is None else most
    if which == "diverged":
        picked = _lost_last([row for row in rows.rows if row["status"] == Status.DIVERGED])
        if not picked:
            raise UserError(f"No run of {rows.directory} diverged; leave out choose=diverged.")
        told = "those that diverged, the longest-lived first"
    elif not rows.ranked:
        picked, told = list(rows.rows), "the latest"
    elif which == "all" or len(by_setting(rows.rows)) == 1:
        picked, told = _ranked(rows.rows, rows.metric), "best first"
    else:
        picked, told = _best_of_settings(rows, limit)
    kept = picked[:limit]
    return Chosen(rows, tuple(_named(kept, rows)), told)


def _best_of_settings(rows: Rows, limit: int) -> tuple[list[Row], str]:
    """Return one run a setting, settings in their order, and what was kept in words."""
    groups = by_setting(rows.rows)
    order = [tuple(found.values.items()) for found in settings(rows.rows, rows.metric)]
    first = [_ranked(groups[values], rows.metric)[0] for values in order]
    good = [row for row in first if score(row, rows.metric) is not None]
    lost = _lost_last([row for row in first if score(row, rows.metric) is None])
    places = min(len(lost), max(limit // LOST_SHARE, limit - len(good)))
    kept = good[: limit - places], lost[:places]
    told = [
        f"{_part(len(kept[0]), len(good), 'the best')} that ended well",
        f"{_part(len(kept[1]), len(lost), 'the longest-lived')} that did not end well",
    ]
    told = [words for words, there in zip(told, (good, lost), strict=True) if there]
    return [*kept[0], *kept[1]], f"one run a setting: {' and '.join(told)}"


def _part(kept: int, there_are: int, which: str) -> str:
    return f"all {kept:,}" if kept == there_are else f"{which} {kept:,} of {there_are:,}"


def _ranked(rows: Sequence[Row], metric: str) -> list[Row]:
    """Return the runs with a score, best first, then those without."""
    sign = 1 if lower_is_better(metric) else -1
    scores = [(score(row, metric), row) for row in rows]
    good = sorted(((s, row) for s, row in scores if s is not None), key=lambda it: sign * it[0])
    return [row for _, row in good] + _lost_last([row for s, row in scores if s is None])


def _lost_last(rows: Sequence[Row]) -> list[Row]:
    """Return runs without a score, those that took the most steps first."""
    return sorted(rows, key=lambda row: -(row.get("step") or 0))


# ---- names


def _named(picked: Sequence[Row], rows: Rows) -> list[Shown]:
    digits = width(len(picked))
    short = short_names(rows.options)
    made = []
    for number, row in enumerate(picked, 1):
        words = [f"{number:0{digits}d}"]
        if row["status"] != Status.OK:
            words.append(str(row["status"]))
        if rows.ranked:
            words += [f"{short[key]}={row[key]}" for key in rows.options if row[key] != ""]
        else:
            run = Path(row["directory"])
            words.append(
                run.name if run == rows.directory else str(run.relative_to(rows.directory))
            )
        name = FORBIDDEN.sub("_", " ".join(words)).encode()[:LONGEST]
        made.append(Shown(name.decode(errors="ignore").rstrip(" ."), row))
    return made


def width(runs: int) -> int:
    """Return the digits of a rank."""
    return max(2, len(str(runs)))


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return the last word of each option's name where no other option has the same."""
    last = [key.rsplit(".", 1)[-1] for key in keys]
    counts = Counter(last)
    return {key: word if counts[word] == 1 else key for key, word in zip(keys, last, strict=True)}
