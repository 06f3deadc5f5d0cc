"""Counts what a command does to files, and at one operation ends the process or fails.

Run in a process that is about to become a command of Descent's, as `CRASH` in its environment says:
`log:<file>` writes down every operation; `die:<n>` ends the process after the n-th; `<errno>:<n>`
lets the n-th fail, such as `ENOSPC:7`. Only files below the working directory count. Libraries
that write behind Python's back are given a file of ours, so nothing passes by here but log lines.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Shim:
    """The counted operations of this process.

    Args:
        spec: as the module's documentation says.
    """

    def __init__(self, spec: str) -> None:
        self.how, _, what = spec.partition(":")
        self.at = 0 if self.how == "log" else int(what)
        self.log = os.open(what, os.O_WRONLY | os.O_CREAT) if self.how == "log" else None
        self._write = os.write  # as it is before it is watched
        self.root, self.count = f"{Path.cwd()}{os.sep}", 0
        self.paths: dict[int, str] = {}

    def inside(self, path: Any) -> str | None:
        """Return a path below the working directory, relative to it; None for others."""
        if isinstance(path, int):
            return self.paths.get(path)
        full = os.path.abspath(os.fspath(path))  # noqa: PTH100 - by its name alone
        full = full.decode() if isinstance(full, bytes) else full
        return full[len(self.root) :] if full.startswith(self.root) else None

    def operation(self, name: str, act: Callable[[], Any], *about: Any) -> Any:
        """Count an operation, and do what is to be done at its number."""
        self.count += 1
        if self.count == self.at and self.how != "die":
            code = getattr(errno, self.how)
            raise OSError(code, os.strerror(code), str(about[0]))
        try:
            result = act()
        except OSError:  # such as a directory that was there: it counts, and changed nothing
            name = "failed"
            raise
        finally:
            if self.log is not None:
                self._write(self.log, pickle.dumps((name, *about)))
        if self.count == self.at:
            os._exit(99)
        return result


def install() -> None:
    """Watch over this process from now on."""
    shim = Shim(os.environ["CRASH"])
    real = {name: getattr(os, name) for name in ("open", "close", "write", "fsync", "ftruncate")}

    def watch(name: str, two: bool = False) -> None:
        act = getattr(os, name)

        def watched(path: Any, *given: Any, **options: Any) -> Any:
            at = shim.inside(path) if not options.get("dir_fd") else None
            if at is None:
                return act(path, *given, **options)
            about = (at, shim.inside(given[0])) if two else (at,)
            return shim.operation(name, lambda: act(path, *given, **options), *about)

        setattr(os, name, watched)

    def opened(path: Any, flags: int, *given: Any, **options: Any) -> int:
        at = shim.inside(path)
        if at is None:
            return real["open"](path, flags, *given, **options)
        if not flags & WRITES:
            fd = real["open"](path, flags, *given, **options)
        else:

            def act() -> int:
                return real["open"](path, flags, *given, **options)

            fd = shim.operation("open", act, at)
        shim.paths[fd] = at
        return fd

    def closed(fd: int) -> None:
        shim.paths.pop(fd, None)
        real["close"](fd)

    def wrote(fd: int, data: Any) -> int:
        at = shim.paths.get(fd)
        if at is None:
            return real["write"](fd, data)
        where = os.lseek(fd, 0, os.SEEK_CUR)
        return shim.operation("write", lambda: real["write"](fd, data), at, where, bytes(data))

    def cut(fd: int, size: int) -> None:
        at = shim.paths.get(fd)
        if at is None:
            return real["ftruncate"](fd, size)
        return shim.operation("ftruncate", lambda: real["ftruncate"](fd, size), at, size)

    def synced(fd: int) -> None:
        at = shim.paths.get(fd)
        act = lambda: real["fsync"](fd)  # noqa: E731
        return act() if at is None else shim.operation("fsync", act, at)

    plain = io.open

    def opened_by_python(file: Any, mode: str = "r", *given: Any, **options: Any) -> Any:
        at = None if isinstance(file, int) or not set(mode) & set("wax+") else shim.inside(file)
        act = lambda: plain(file, mode, *given, **options)  # noqa: E731
        return act() if at is None else shim.operation("open", act, at)

    os.open, os.close, os.write, os.ftruncate, os.fsync = opened, closed, wrote, cut, synced  # type: ignore[assignment]
    io.open = builtins.open = opened_by_python  # type: ignore[assignment]
    for name in ("mkdir", "unlink", "remove", "rmdir"):
        watch(name)
    for name in ("replace", "rename"):
        watch(name, two=True)
    from descent.files import atomic

    sync_all = atomic._sync_file_system
    atomic._sync_file_system = lambda path: shim.operation(
        "syncfs", lambda: sync_all(path), str(path)
    )  # type: ignore[assignment]


def replay(log: Path, upto: int, directory: Path, lost: str) -> None:
    """Make what a power cut after some operations may leave.

    Args:
        log: of a whole command.
        upto: operations that were done.
        directory: in which the command ran, as it was before it.
        lost: `all` that was not synced, names too; or `data`, but no name: files are empty, or end
            where they ended.
    """
    with log.open("rb") as file:
        done = []
        while len(done) < upto:
            try:
                done.append(pickle.load(file))
            except EOFError:
                break
    whole = max((i for i, op in enumerate(done) if op[0] == "syncfs"), default=-1)
    files: dict[str, bytearray] = {
        str(p.relative_to(directory)): bytearray(p.read_bytes())
        for p in directory.rglob("*") if p.is_file()
    }  # fmt: skip
    named: dict[str, bytes] = {}  # what survives, by name
    kept = {name: bytes(data) for name, data in files.items()}  # data that are on the disk
    named = dict(kept)
    directories = [str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_dir()]
    for i, (name, *about) in enumerate(done):
        at = about[0]
        if name == "open":
            files.setdefault(at, bytearray())
            kept.setdefault(at, b"")
        elif name == "write":
            where, data = about[1:]
            files[at].extend(bytes(max(0, where + len(data) - len(files[at]))))
            files[at][where : where + len(data)] = data
        elif name == "ftruncate":
            files[at] = files[at][: about[1]] + bytes(max(0, about[1] - len(files[at])))
        elif name == "fsync":
            if at in files:
                kept[at] = bytes(files[at])
                named.setdefault(at, kept[at])
                named[at] = kept[at]
            else:  # a directory's names
                inside = {n for n in files if str(Path(n).parent) == at}
                for gone in [n for n in named if str(Path(n).parent) == at and n not in inside]:
                    del named[gone]
                named |= {n: kept[n] for n in inside}
        elif name in ("replace", "rename") and at in files:
            files[about[1]], kept[about[1]] = files.pop(at), kept.pop(at)
        elif name in ("unlink", "remove"):
            files.pop(at, None)
            kept.pop(at, None)
        elif name == "mkdir":
            directories.append(at)
        if name == "syncfs" or i == whole:
            kept = {n: bytes(d) for n, d in files.items()}
            named = dict(kept)
    left = named if lost == "all" else {n: kept[n] for n in files}
    for path in [p for p in directory.rglob("*") if p.is_file()]:
        path.unlink()
    for name in directories:
        (directory / name).mkdir(parents=True, exist_ok=True)
    for name, content in left.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
