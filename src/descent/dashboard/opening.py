"""From the command's options to TensorBoard over the runs they choose."""

from __future__ import annotations

import logging
import shlex
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from descent.config import plain
from descent.dashboard.choosing import CHOICES, MOST, Chosen, choose, width
from descent.dashboard.finding import find
from descent.dashboard.logdir import log_directory
from descent.dashboard.rows import read_rows
from descent.dashboard.server import PORT, ending_on_signals, serve
from descent.endings import Status
from descent.errors import UserError
from descent.rules import Choice, Rule
from descent.signals import Interrupted, answering, unwind
from descent.spelling import command_words

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
    return lines


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
