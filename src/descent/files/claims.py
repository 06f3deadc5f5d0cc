"""Whose a directory is: one process's at a time, from its first file to its last.

The claim is a lock on `.lock`, taken before anything else is written and held until the process
ends or lets go; the system lets go of it when the process dies. Whoever takes it looks for results
afterwards, so two commands never write into one directory, whatever their order.

The file also keeps some room on the disk: on a full one, the words that tell so take its place.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from descent.errors import UserError
from descent.files.atomic import clear_parts, make_directory, open_growing

LOCK = ".lock"
RESERVE = 1 << 14  # bytes: what tells the end of a run takes one or two blocks

_locks: dict[Path, int] = {}  # descriptors of what this process holds
_owner = 0  # this process's number, once it holds something
_made: dict[Path, list[Path]] = {}  # by directory claimed: what was not there before


def claim(directory: Path) -> None:
    """Make a directory if it is not there, and hold it.

    Raises:
        UserError: another process holds it.
        WriteError: it cannot be made or written to.
    """
    made = make_directory(directory)
    try:
        hold(directory)
    except UserError:
        remove_empty(made)
        raise
    _made[directory.resolve()] = made


def hold(directory: Path) -> None:
    """Hold a directory that is there, unless this process does already.

    Raises:
        UserError: another process holds it.
        WriteError: it cannot be written to.
    """
    global _owner
    key = directory.resolve()
    while key not in _locks:
        fd = open_growing(directory / LOCK)
        try:
            _lock(fd)
        except OSError:
            os.close(fd)
            raise UserError(
                f"{directory} is being trained in by another process; wait for it to end."
            ) from None
        if not _is_named(fd, directory / LOCK):  # whoever held it has just removed it
            os.close(fd)
            continue
        _locks[key], _owner = fd, os.getpid()
        reserve(directory, RESERVE)
        with suppress(OSError):
            clear_parts(directory)


def reserve(directory: Path, size: int) -> None:
    """Keep room on the disk for what must be written when it is full; none if it is full."""
    fd = _locks.get(directory.resolve())
    if fd is not None and hasattr(os, "posix_fallocate"):
        with suppress(OSError):
            os.posix_fallocate(fd, 0, size)


def give_room(directory: Path) -> None:
    """Give back what was kept."""
    fd = _locks.get(directory.resolve())
    if fd is not None:
        with suppress(OSError):
            os.ftruncate(fd, 0)


def let_go(directory: Path) -> None:
    """Hold a directory no longer."""
    fd = _locks.pop(directory.resolve(), None)
    if fd is not None:
        with suppress(OSError):  # before others can take it: they would hold a file without a name
            (directory / LOCK).unlink()
        os.close(fd)


def let_all_go() -> None:
    """Hold nothing any longer: the command ends."""
    for directory in list(_locks):
        if _owner == os.getpid():  # a process that was forked holds nothing
            let_go(directory)


atexit.register(let_all_go)


def claimed(directory: Path) -> bool:
    """Whether this process claimed the directory, so that it may remove it again."""
    return directory.resolve() in _made


def all_claimed() -> list[Path]:
    """Return the directories that this process claimed and has not undone, in their order."""
    return list(_made) if _owner == os.getpid() else []


def undo(directory: Path) -> None:
    """Let go of a claimed directory, and remove what was made for it and is empty."""
    made = _made.pop(directory.resolve(), [])
    let_go(directory)
    remove_empty(made)


def remove_empty(made: Sequence[Path]) -> None:
    """Remove directories that were made, topmost first, as far as nothing is in them."""
    for path in reversed(made):
        with suppress(OSError):
            path.rmdir()


def _is_named(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False


def _lock(fd: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
