"""What the user can mend, said in one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UserError(Exception):
    """Bad input: what is wrong, where, and what to do next, in one sentence.

    The entry points print the sentence and exit with code 2; every other exception keeps its
    traceback.
    """


class WriteError(UserError):
    """A file or directory that cannot be written.

    Args:
        sentence: which, why, and what to do.
        code: the errno.
    """

    def __init__(self, sentence: str, code: int = 0) -> None:
        super().__init__(sentence)
        self.code = code

    def __reduce__(self) -> tuple[type[WriteError], tuple[str, int]]:
        """Come through from a worker."""
        return type(self), (str(self), self.code)


class DescentError(UserError, ValueError):
    """What `import descent` raises for bad input: the sentence that the command would have said.

    It is a ValueError too, which is what callers of a library expect of bad input.
    """


class ForeignError(UserError):
    """Code that a config names, and that is not ours, failed; the cause has its traceback."""


def first_line(error: BaseException) -> str:
    """Return an exception's first line, or its name, without the full stop."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def counted(number: int, noun: str) -> str:
    """Return `1 step` or `1,200 steps`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def joined(words: Sequence[str], most: int | None = None) -> str:
    """Return `a, b and c`; beyond `most` words, `a, b and 3 more`.

    Words that hold commas themselves are kept apart by semicolons: `a, b; c, d; and 3 more`.
    """
    shown = [*words[:most]]
    if len(words) > len(shown):
        shown.append(f"{len(words) - len(shown):,} more")
    nested = len(shown) > 2 and any(", " in word for word in shown)
    comma, last = ("; ", "; and ") if nested else (", ", " and ")
    return last.join(part for part in (comma.join(shown[:-1]), *shown[-1:]) if part)


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory is short.

    PyTorch has a class for accelerators; of the CPU's allocator it raises a RuntimeError.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    allocator = type(error) is RuntimeError and "DefaultCPUAllocator" in str(error)
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or allocator


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the known word nearest to `given`, or an empty string."""
    known = list(known)
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    if not near:
        # a leaf typed without its group (`lr` for `optimizer.lr`), or under the wrong one
        leaf = given.rsplit(".", 1)[-1]
        near = [word for word in known if word.rsplit(".", 1)[-1] == leaf][:1]
    return f"; did you mean '{near[0]}'?" if near else ""
