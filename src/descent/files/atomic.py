"""The one place that writes: whole files at once or not at all, growing files never through a link.

A new file is made under a name nobody can guess, exclusively, beside the one it is for; synced,
renamed onto it, and its directory synced. What a killed process leaves is the old file or the new
one, and perhaps a temporary one, which `clear_parts` removes. Whatever a file's name is a link to
stays as it is. What cannot be written is a `WriteError`: one sentence, with the errno behind it.
"""

from __future__ import annotations

import errno
import fnmatch
import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TextIO, Union

from descent.errors import WriteError

LINK, BINARY = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_BINARY", 0)
ALWAYS = getattr(os, "O_CLOEXEC", 0) | LINK | BINARY
PART = ".*.????????????.part"  # the names of temporary files
AT_ONCE = 2  # files to be synced one by one; of more, the file system is synced as a whole
CHUNK = 1 << 16

# What a directory may hold: by name or pattern, a file (None) or another such table.
Known = Mapping[str, Union["Known", None]]


# ---- whole files


def write(path: Path, content: str | bytes) -> None:
    """Write a whole file.

    Raises:
        WriteError: it cannot be written; what was there before still is.
    """
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write to, which takes the place of `path` if all goes well.

    Libraries that write into it may raise what they like when it fails: it is a WriteError.
    """
    part = part_name(path)
    with _told(path):
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | ALWAYS, 0o666)
    file = _NewFile(fd)
    buffered = io.BufferedRandom(file, CHUNK)
    try:
        try:
            yield buffered
            with _told(path):
                buffered.flush()
        except BaseException:
            if file.failure is not None:  # whatever the library made of it
                raise write_error(path, file.failure) from None
            raise
        with _told(path):
            if _batch is None:
                os.fsync(fd)
            file.shut()
            if _batch is not None and _batch.names_last:
                _batch.unnamed.append((part, path))
                return
            part.replace(path)
            if not _note(path):
                _sync_directory(path.parent)
    except BaseException:
        file.shut()
        with suppress(OSError):
            part.unlink()
        raise


def part_name(path: Path) -> Path:
    """Return a name beside a path, for what will take its place."""
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}.part")


class _NewFile(io.RawIOBase):
    """A file that remembers why it could not be written; it has no number to write to behind it.

    Once it is shut, what a buffer over it still wants when it is thrown away comes to nothing:
    since Python 3.13 an exception there is printed.
    """

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd
        self.failure: OSError | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self._fd is None:
            return len(data)
        try:
            return os.write(self._fd, data)
        except OSError as error:
            self.failure = error
            raise

    def readinto(self, buffer: Any) -> int:
        if self._fd is None:
            return 0
        data = os.read(self._fd, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return 0 if self._fd is None else os.lseek(self._fd, offset, whence)

    def shut(self) -> None:
        """Give the file back to the system; what is still buffered is lost."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def close(self) -> None:
        """Leave it open: a library that closes what it was given must not end the writing."""


# ---- growing files


class Growing:
    """A file that grows at its end, and can be cut back to where a checkpoint left it.

    It is opened for each flush: a stack has more of them than a process may hold open.

    Args:
        path: the file; nobody's link, with no other name.
        position: bytes to keep; what lies behind is cut off.

    Raises:
        WriteError: it is something else, or cannot be written.
    """

    def __init__(self, path: Path, position: int = 0) -> None:
        self.path, self._pending, self._size = path, bytearray(), position
        with self._opened() as fd:
            os.ftruncate(fd, position)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        fd = open_growing(self.path)
        try:
            with _told(self.path):
                yield fd
        finally:
            os.close(fd)

    @property
    def position(self) -> int:
        """Bytes written."""
        return self._size + len(self._pending)

    def write(self, data: bytes | memoryview) -> None:
        """Append; at some time it reaches the system."""
        self._pending += data
        if len(self._pending) >= CHUNK:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the operating system."""
        if not self._pending:
            return
        with self._opened() as fd:
            os.lseek(fd, self._size, os.SEEK_SET)
            while self._pending:
                written = os.write(fd, self._pending[: 1 << 24])
                self._size += written
                del self._pending[:written]

    def sync(self) -> None:
        """See to it that everything survives a power cut: a checkpoint is about to rely on it."""
        self.flush()
        if not _note(self.path):
            with self._opened() as fd:
                os.fsync(fd)

    def close(self) -> None:
        """Flush and sync."""
        self.sync()


def open_growing(path: Path, flags: int = os.O_RDWR) -> int:
    """Open or make a file of ours that is written in place; return its descriptor.

    Raises:
        WriteError: it is a link, no regular file, or has another name elsewhere.
    """
    with _told(path):
        fd = os.open(path, flags | os.O_CREAT | os.O_NONBLOCK | ALWAYS, 0o666)
    about = os.fstat(fd)
    if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
        os.close(fd)
        what = "has another name elsewhere" if stat.S_ISREG(about.st_mode) else "is no regular file"
        raise WriteError(f"{path} {what}, so it is not written to; move it away.", errno.ELOOP)
    return fd


def appending(path: Path) -> TextIO:
    """Open a log of ours, made if it is not there, to append lines to."""
    fd = open_growing(path, os.O_WRONLY | os.O_APPEND)
    return os.fdopen(fd, "a", encoding="utf-8")


# ---- directories


def make_directory(path: Path) -> list[Path]:
    """Make a directory and those above it; return those that were not there, topmost first.

    Raises:
        WriteError: it cannot be made, or is a link or a file.
    """
    made: list[Path] = []
    with _told(path, "made"):
        if path.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        missing = [path]
        while not missing[-1].parent.is_dir() and missing[-1].parent != missing[-1]:
            missing.append(missing[-1].parent)
        for directory in reversed(missing):
            try:
                directory.mkdir()
            except FileExistsError:
                if not directory.is_dir():
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
                continue
            made.append(directory)
            if not _note(directory):
                _sync_directory(directory.parent)
    return made


def foreign(directory: Path, known: Known) -> list[Path]:
    """Return what lies in a directory that a table does not know: others' files, links, pipes."""
    found: list[Path] = []
    for entry in os.scandir(directory):
        table = _known(entry.name, known)
        if isinstance(table, Mapping) and entry.is_dir(follow_symlinks=False):
            found += foreign(Path(entry), table)
        elif table is not None or not entry.is_file(follow_symlinks=False):
            found.append(Path(entry))
    return found


_NOBODYS = False


def _known(name: str, known: Known) -> Known | bool | None:
    if fnmatch.fnmatchcase(name, PART):
        return None
    return next((t for p, t in known.items() if fnmatch.fnmatchcase(name, p)), _NOBODYS)


def clear(directory: Path, known: Known, keep: bool = False) -> None:
    """Remove a directory in which nothing is but what a table knows.

    Args:
        directory: with all that is in it.
        known: what may be in it.
        keep: remove what is in it alone.

    Raises:
        WriteError: something else lies there (then nothing was removed), or it cannot be removed.
    """
    others = foreign(directory, known)
    if others:
        raise WriteError(
            f"{directory} holds {others[0].relative_to(directory)}, which is not Descent's and "
            "would be lost; move it away, or give another directory.",
            errno.ENOTEMPTY,
        )
    with _told(directory, "removed"):
        _remove(directory, keep)


def _remove(directory: Path, keep: bool = False) -> None:
    for entry in list(os.scandir(directory)):
        if entry.is_dir(follow_symlinks=False):
            _remove(Path(entry))
        else:
            Path(entry).unlink()
    if not keep:
        directory.rmdir()


@contextmanager
def scratch() -> Iterator[Path]:
    """Give an empty directory of the system's, and remove it with all that was put there."""
    with tempfile.TemporaryDirectory(prefix="descent-") as name:
        yield Path(name)


def remove_own(directory: Path) -> None:
    """Remove a temporary directory of our own making; what it links to stays."""
    shutil.rmtree(directory, ignore_errors=True)


def parts_of(path: Path) -> list[Path]:
    """Return the temporary files that a killed process left, which were to take a file's place."""
    made = f".{path.name}.{PART.removeprefix('.*.')}"
    return sorted(part for part in path.parent.iterdir() if fnmatch.fnmatchcase(part.name, made))


def adopt(part: Path, path: Path) -> None:
    """Give a temporary file, which a killed process had finished, the name that it was to have."""
    part.replace(path)


def clear_parts(directory: Path) -> None:
    """Remove the temporary files that killed processes left; only by whom owns the directory."""
    for entry in list(os.scandir(directory)):
        if fnmatch.fnmatchcase(entry.name, PART) and entry.is_file(follow_symlinks=False):
            with suppress(OSError):
                Path(entry).unlink()


def clear_parts_of(path: Path) -> None:
    """Remove what killed processes left that were to write this very file."""
    for part in parts_of(path):
        with suppress(OSError):
            part.unlink()


def remove_file(path: Path) -> None:
    """Remove a file of ours, if it is there."""
    with _told(path, "removed"), suppress(FileNotFoundError):
        path.unlink()


def move(path: Path, target: Path) -> None:
    """Give a file or directory another name."""
    with _told(target, "made"):
        path.rename(target)
        if not _note(target):
            _sync_directory(target.parent)


def link(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`; where no link can be made, a copy as it is now."""
    for make in (os.symlink, os.link):
        with suppress(OSError, NotImplementedError):  # file systems and systems without links
            make(source, target)
            return
    with _told(target):
        shutil.copyfile(source, target)


# ---- syncing


@dataclass
class _Batch:
    """Files written together.

    Args:
        names_last: they get their names when all of them are on the disk.
        written: to be synced.
        unnamed: temporary files, and the names they will have.
    """

    names_last: bool
    written: list[Path] = field(default_factory=list)
    unnamed: list[tuple[Path, Path]] = field(default_factory=list)


_batch: _Batch | None = None


@contextmanager
def together(names_last: bool = True) -> Iterator[None]:
    """Sync what is written inside at the end of the block, all of it at once.

    A sync waits for the disk, some milliseconds a file: a run of a stack takes less to train. What
    must be on the disk before other files are goes into a block before theirs.

    Args:
        names_last: whole files get their names at the end of the block too, when their data are
            on the disk; else a power cut may leave names of empty files.
    """
    global _batch
    if _batch is not None:
        yield
        return
    _batch = batch = _Batch(names_last)
    try:
        yield
        _batch = None
        if batch.unnamed:
            _sync(list(dict.fromkeys([*batch.written, *(part for part, _ in batch.unnamed)])))
            for part, path in batch.unnamed:
                with _told(path):
                    part.replace(path)
            batch.written = [path for _, path in batch.unnamed]
        if batch.written:
            _sync(list(dict.fromkeys(batch.written)))
    finally:
        _batch = None
        for part, _ in batch.unnamed:  # if not all have gone well
            with suppress(OSError):
                part.unlink()


def _note(path: Path) -> bool:
    """Whether a file is synced later, with others; it is noted then."""
    if _batch is None:
        return False
    _batch.written.append(path)
    return True


def _sync(paths: list[Path]) -> None:
    with _told(paths[0]):
        if len(paths) > AT_ONCE and _sync_file_system(paths[0].parent):
            return
        for path in paths:
            if path.is_file():
                fd = os.open(path, os.O_RDONLY | ALWAYS)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
        for directory in dict.fromkeys(path.parent for path in paths):
            _sync_directory(directory)


def _sync_file_system(directory: Path) -> bool:
    """Sync all files of a file system; whether that can be done here.

    Three milliseconds for the files of 32 runs where fsync takes three and a half for each.
    """
    if sys.platform != "linux":
        return False
    import ctypes

    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | getattr(os, "O_CLOEXEC", 0))
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd) == 0:
            return True
        code = ctypes.get_errno()
    except AttributeError:  # a C library without it
        return False
    finally:
        os.close(fd)
    if code == errno.ENOSYS:
        return False
    raise OSError(code, os.strerror(code), str(directory))


def _sync_directory(path: Path) -> None:
    """Sync a directory's names."""
    if os.name != "posix":
        return
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | getattr(os, "O_CLOEXEC", 0))
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that know none
            raise
    finally:
        os.close(fd)


# ---- what went wrong

# What goes wrong for all files of a disk, not for one.
FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)

ADVICE = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.EROFS: "that disk is read-only",
    errno.EFBIG: "files may not grow that large (see ulimit -f)",
    errno.ENOENT: "its directory has vanished",
    errno.ELOOP: "links are not followed; move it away",
    errno.ENAMETOOLONG: "give a shorter one",
}


def write_error(path: Path, error: OSError, word: str = "written") -> WriteError:
    """Return an operating system's complaint as a sentence about the file it is for."""
    code = error.errno or errno.EIO
    sentence = f"{path} cannot be {word}: {os.strerror(code)}"
    advice = ADVICE.get(code)
    return WriteError(f"{sentence}; {advice}." if advice else f"{sentence}.", code)


@contextmanager
def _told(path: Path, word: str = "written") -> Iterator[None]:
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise write_error(path, error, word) from None
