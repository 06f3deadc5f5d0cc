"""What a sweep says, in plain sentences, and what to run next."""

from __future__ import annotations

from dataclasses import dataclass

from descent.study.settings import Setting


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
    next_sweep: tuple[str, str] | tuple[()]
