"""The lines of a picture taken apart by problem, so that only what compares shares a panel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from descent.study.options import BATCH, short
from descent.study.sensitivity import Line


@dataclass(frozen=True)
class Entry:
    """A line and whose it is: the same name in every panel.

    Args:
        name: such as `adam`; with what was fixed along the line, where there is one panel.
        line: of this problem.
    """

    name: str
    line: Line


def by_problem(lines: Sequence[Line]) -> dict[str, list[Entry]]:
    """Return the lines of each problem, such as `data=digits`; one without a name if there is one.

    A label holds the problem, then the optimizer (without its option's name) or the batch size.
    """
    groups: dict[str, list[Entry]] = {}
    for line in lines:
        parts = line.label.split(", ")
        own = [part for part in parts if "=" not in part or part.startswith(f"{short(BATCH)}=")]
        problem = ", ".join(part for part in parts if part not in own)
        groups.setdefault(problem, []).append(Entry(", ".join(own), line))
    if len(groups) > 1:
        return groups
    return {"": [Entry(", ".join(filter(None, (s.label, s.fixed))) or "all", s) for s in lines]}
