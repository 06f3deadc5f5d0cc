"""From the command's options to TensorBoard over the runs they choose."""

from __future__ import annotations

import logging
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from omegaconf import DictConfig

from descent.config.check import not_run, plain
from descent.config.options import Choice, Rule
from descent.config.spelling import command_words
from descent.dashboard.choosing import CHOICES, MOST, Chosen, choose, width
from descent.dashboard.logdir import log_directory
from descent.dashboard.rows import find, read_rows
from descent.errors import UserError
from descent.records.endings import Status
from descent.records.run import Run
from descent.signals import PARENT, Interrupted, answering, deaf, unwind

HOST = "localhost"  # nobody else on the network
PORT = 6006  # TensorBoard's own; it takes the next free one where nobody chose
# TensorBoard, ended by the system when this process ends, however that is
TENSORBOARD = """
from descent.signals import end_with_parent
end_with_parent()
from descent.dashboard.overlay import run_main
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


log = logging.getLogger(__name__)

FEW = 4  # runs in a chart of four lines a run; one digit, so that a short pattern finds them

RULES = {
    "run": Rule(str, words=(None,)),
    "choose": Rule(Choice, words=CHOICES),
    "most": Rule(int, at_least=1, words=(None,)),
    "port": Rule(int, at_least=0, at_most=65535, words=(None,)),
}


@dataclass(frozen=True)
class Dashboard:
    """What to show and where, read and checked.

    Args:
        chosen: the runs.
        port: as the user gave it; None for the first free one from 6006 on.
    """

    chosen: Chosen
    port: int | None


def run(cfg: DictConfig) -> None:
    """Open the dashboard and show it; Ctrl-C is how it ends, whenever it comes."""
    try:
        with answering(unwind):
            show(open_dashboard(cfg))
    except Interrupted as error:
        if error.name != "SIGINT":
            raise SystemExit(error.code) from None


def open_dashboard(cfg: DictConfig) -> Dashboard:
    """Find, read and choose the runs; nothing is written or begun yet.

    Raises:
        UserError: an option does not fit, or there is nothing to show.
    """
    asked = plain(cfg)
    for key, rule in RULES.items():
        problem = rule.problem(asked[key])
        if problem:
            raise UserError(f"{key}={asked[key]} does not fit: it must be {problem}.")
    directory = find(asked["run"], Path(asked["paths"]["outputs"]))
    which = asked["choose"]
    most = asked["most"] or (None if which == "all" else MOST)
    rows = read_rows(directory, most if which == "best" else None)
    return Dashboard(choose(rows, which, most), asked["port"])


def show(dashboard: Dashboard) -> None:
    """Serve TensorBoard until Ctrl-C, and say at which addresses.

    Raises:
        UserError: the files cannot be laid out, or TensorBoard cannot run.
    """
    chosen = dashboard.chosen

    def told(address: str) -> None:
        port = address.rstrip("/").rsplit(":", 1)[-1]
        if dashboard.port is None and port != str(PORT):
            log.info("note: port %s is in use; port %s is free and was taken.", PORT, port)
        for name, link in addresses(address, chosen).items():
            log.info("%-10s %s", name, link)
        log.info("Ctrl-C ends it.")

    for line in description(chosen):
        log.info("%s", line)
    with ending_on_signals(), log_directory(chosen) as directory:
        serve(directory, dashboard.port, told)


def description(chosen: Chosen) -> list[str]:
    """Return which runs are shown out of how many, and how to see all."""
    shown, there_are = len(chosen.runs), chosen.of.there_are
    directory = str(chosen.of.directory)
    lines = [f"{shown:,} of {there_are:,} runs of {directory}: {chosen.told}"]
    if shown < there_are:
        typed = [*command_words("dashboard"), f"run={directory}", "choose=all"]
        lines.append(f"{'all':<10} {shlex.join(typed)}")
    if chosen.of.without:
        count = f"{chosen.of.without:,} more job{'s have' if chosen.of.without > 1 else ' has'}"
        told = "not begun, still in training, or refused; type the command again to look for them"
        lines.append(f"note: {count} recorded nothing: {told}.")
    doubts = [doubt for run in chosen.runs if (doubt := _doubt(run.directory))]
    if len(doubts) > 1:
        lines.append(f"note: {len(doubts):,} of these runs are not to be trusted; of the first:")
    return [*lines, *(f"note: {doubt}; a dashboard runs nothing." for doubt in doubts[:1])]


def _doubt(directory: Path) -> str | None:
    """Return why a run's config is not to be trusted, without a full stop."""
    try:
        found = not_run(Run(directory).config(), str(directory))
    except UserError as error:
        return str(error).rstrip(".")
    return None if found is None else found.fault


def addresses(address: str, chosen: Chosen) -> dict[str, str]:
    """Return the pages worth opening: curves, losses over each other, the table of options.

    A run that diverged takes the whole scale of a chart, so runs that ended well are shown first,
    and in the charts with four lines a run the best four. Both are the pages' own filters.
    """
    base = address.rstrip("/") + "/"
    good = sum(run.row["status"] == Status.OK for run in chosen.runs)
    mixed = any(run.row["status"] == Status.DIVERGED for run in chosen.runs) and good
    curves = f"{base}?runFilter=^(?!.*{Status.DIVERGED})" if mixed else base
    few, zeros = min(good or len(chosen.runs), FEW), "0" * (width(len(chosen.runs)) - 1)
    first = f"&regexInput=^{zeros}[1-{few}]" if few < len(chosen.runs) else ""
    charts = f"{base}#custom_scalars{first}&_smoothingWeight=0"
    return {"curves": curves, "losses": charts, "options": f"{base}#hparams"}
