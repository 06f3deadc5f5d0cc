"""What the user can mend, said in one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input: what is wrong, where, and what to do next, in one sentence.

    The entry points print the sentence and exit with code 2; every other exception keeps its
    traceback.
    """


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the known word nearest to `given`, or an empty string."""
    known = list(known)
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    if not near:
        # a leaf typed without its group (`lr` for `optimizer.lr`), or under the wrong one
        leaf = given.rsplit(".", 1)[-1]
        near = [word for word in known if word.rsplit(".", 1)[-1] == leaf][:1]
    return f"; did you mean '{near[0]}'?" if near else ""
