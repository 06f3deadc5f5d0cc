"""Ctrl-C and SIGTERM from the first import to the last write, and children that end with parents.

Before anything is begun, a signal ends the process at once. While something is underway `answering`
says what it does: unwind, or ask the training to stop between two steps. A second signal, or two
seconds without an end, ends the process whatever it is in the midst of: what it leaves is what a
killed process leaves, which can be continued.

Imports little: this comes before what takes seconds to import.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

SECONDS = 1.6  # from a signal to the end, at most
LOOK_SECONDS = 0.2  # between two looks after a parent
BOTH = (signal.SIGINT, signal.SIGTERM)
PARENT = "DESCENT_PARENT"  # who started a process that multiprocessing does not count as a child


class Interrupted(KeyboardInterrupt):
    """A signal that unwinds what is underway; KeyboardInterrupt itself may be somebody's code's.

    Args:
        number: the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.name, self.code = signal.Signals(number).name, 128 + number


@dataclass(frozen=True)
class _Answer:
    """What a signal does.

    Args:
        act: on the first one, given its number.
        words: when the process is ended at once: saves what can be saved, returns a sentence.
    """

    act: Callable[[int], None]
    words: Callable[[str], str]


def _leave(number: int) -> None:
    _end(number)


def unwind(number: int) -> None:
    """Raise Interrupted."""
    raise Interrupted(number)


_FIRST = _answer = _Answer(_leave, "stopped by {}.".format)
_received: list[int] = []
_listening: tuple[signal.Signals, ...] = ()


class _Outlasting:
    """A stream whose reader may go, as `head` does: what is written after that goes nowhere.

    Training is not to end, nor to be told in tracebacks, for want of a reader.

    Args:
        stream: on a file descriptor, such as stdout.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(BrokenPipeError):
            return self._stream.write(text)
        self._let_go()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._let_go()

    def _let_go(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def listen() -> None:
    """Answer both signals from now on, unless the process was told to ignore them.

    And go on when nobody reads stdout or stderr any more.
    """
    global _listening
    sys.stdout, sys.stderr = (_Outlasting(s) for s in (sys.stdout, sys.stderr))
    _listening = tuple(n for n in BOTH if signal.getsignal(n) is not signal.SIG_IGN)
    _install(_listening)
    if _listening and os.name == "posix":
        # tells a thread even while the main one is within a library that takes its time
        hears, told = os.pipe()
        os.set_blocking(told, False)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        threading.Thread(target=_wait, args=(hears,), daemon=True, name="signals").start()


def received() -> Interrupted | None:
    """Return the first signal that came, if any did."""
    return Interrupted(_received[0]) if _received else None


@contextmanager
def answering(
    act: Callable[[int], None] | None = None, words: Callable[[str], str] | None = None
) -> Iterator[None]:
    """Answer signals in this way within the block.

    Args:
        act: on the first signal, in the main thread, given its number; None for that of the
            block around.
        words: as the process is ended at once: given the signal's name it saves what can be
            saved, from any thread, and returns a sentence; None for that of the block around.
    """
    global _answer
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = _answer
    if not _listening and before is _FIRST:  # somebody else's program, who may go on after it
        _received.clear()
    handlers = _install(_listening or BOTH)
    _answer = _Answer(act or before.act, words or before.words)
    try:
        yield
    finally:
        _answer = before
        if _listening:
            _install(_listening)  # again: Lightning leaves its own, or none at all
        else:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _install(numbers: tuple[signal.Signals, ...]) -> dict[signal.Signals, Any]:
    return {number: signal.signal(number, _hear) for number in numbers}


def _hear(number: int, _: object) -> None:
    _received.append(number)
    if len(_received) == 1:
        _answer.act(number)
    elif _listening:
        _end(number)
    else:
        unwind(number)


def _wait(hears: int) -> None:
    """End the process some time after a signal, if it has not ended by itself."""
    number = os.read(hears, 1)[0]
    while number not in (signal.SIGINT, signal.SIGTERM):
        number = os.read(hears, 1)[0]
    since = time.monotonic()
    while time.monotonic() - since < SECONDS:
        time.sleep(0.05)
    _end(number)


def _end(number: int) -> None:
    """End the process: with its last words, without whatever else it would do."""
    try:
        sentence = _answer.words(signal.Signals(number).name)
        with suppress(OSError, ValueError, RuntimeError):
            sys.stdout.flush()
            sys.stderr.write(f"\n{sentence}\n")
            sys.stderr.flush()
    finally:
        os._exit(128 + number)


# ---- children


def end_with_parent(parent: int | None = None, watch: bool = True) -> None:
    """See to it that this process ends when the one that needs it does, however that ended.

    Args:
        parent: its process id; None for what the environment says.
        watch: also look after it, now and then: it need not be the one that forked this one.
    """
    given = parent or int(os.environ.get(PARENT, "0"))
    if not given or os.name != "posix":
        return
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):  # the kernel sees to it, at once
            ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    if not lives(given):  # it ended before the kernel was told
        os._exit(1)
    if watch:
        threading.Thread(target=_watch, args=(given,), daemon=True, name="parent").start()


def _watch(pid: int) -> None:
    while lives(pid):
        time.sleep(LOOK_SECONDS)
    os._exit(1)


def lives(pid: int) -> bool:
    """Whether a process of this user's has not ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's: the number was given away again
        return False
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended and nobody has asked how: it keeps its number until then."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        return text.rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


@contextmanager
def deaf() -> Iterator[None]:
    """Let what is started not hear Ctrl-C, which is for this process to answer: afterwards."""
    if os.name != "posix":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
