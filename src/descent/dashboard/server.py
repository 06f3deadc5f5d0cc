"""TensorBoard as a process of its own: begun, waited for, ended with us."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

from descent.errors import UserError
from descent.signals import PARENT, deaf

HOST = "localhost"  # nobody else on the network
PORT = 6006  # TensorBoard's own; it takes the next free one where nobody chose
# TensorBoard, ended by the system when this process ends, however that is
TENSORBOARD = """
from descent.signals import end_with_parent
end_with_parent()
from tensorboard.main import run_main
run_main()
"""
PATIENCE = 1  # seconds to end in, before it is killed: it holds nothing that could be lost
SERVING = re.compile(r"^TensorBoard \S+ at (https?://\S+)")


def serve(directory: Path, port: int | None, told: Callable[[str], None]) -> None:
    """Run TensorBoard over a directory until Ctrl-C, or until it ends by itself.

    Args:
        directory: to read.
        port: to listen at; None for the first free one from 6006 on, 0 for any.
        told: is given the address once pages can be opened.

    Raises:
        UserError: the port is taken, or TensorBoard does not start or stops.
    """
    if port:
        check_port(port)
    words = ["--logdir", str(directory), "--host", HOST]
    words += [] if port is None else ["--port", str(port)]
    command = [sys.executable, "-c", TENSORBOARD, *words]
    # Python's path is not inherited by what is not installed; Ctrl-C is for this process to answer
    variables = {**os.environ, PARENT: str(os.getpid()), "PYTHONPATH": os.pathsep.join(sys.path)}
    with deaf():
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=variables
        )
    assert process.stderr is not None
    try:
        said = _wait_until_serving(process.stderr, told)
        for line in process.stderr:  # what it complains about while it serves
            print(line, end="", file=sys.stderr)
        code = process.wait()
    finally:
        _end(process)
    last = next((line for line in reversed(said) if line), f"it ended with code {code}")
    raise UserError(f"TensorBoard does not run: {last.removeprefix('ERROR: ').rstrip('.')}.")


def _wait_until_serving(lines: IO[str], told: Callable[[str], None]) -> list[str]:
    """Read what TensorBoard says up to its address; notes of its own are not passed on."""
    said = []
    for line in lines:
        said.append(line.strip())
        found = SERVING.match(line)
        if found:
            told(found[1])
            return []
    return said


def check_port(port: int) -> None:
    """Refuse a port that cannot be listened at.

    Raises:
        UserError: another process has it, or the system keeps it for itself.
    """
    with socket.socket() as probe:
        # as TensorBoard does it: connections of a server that has just ended do not count
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(
                f"Port {port} cannot be used ({error.strerror}), perhaps another dashboard has it; "
                "give another port=..., or leave it out to take the next free one."
            ) from None


def _end(process: subprocess.Popen[str]) -> None:
    """End the server if it has not ended yet; a second Ctrl-C must not leave it behind."""
    try:
        process.terminate()
        process.wait(PATIENCE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()
    finally:
        if process.stderr is not None:
            process.stderr.close()


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Let a closed terminal unwind as an exit does, so that nothing is left behind."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    names = [name for name in ("SIGHUP",) if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), leave) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
