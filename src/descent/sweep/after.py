"""When the jobs of a multirun have ended: their table, what it says, and the report."""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from descent.cli import EXIT_FAILED, from_here, one_sentence
from descent.config.spelling import SCRIPTS, command
from descent.errors import UserError
from descent.records import document
from descent.records.endings import Status
from descent.records.multirun import compare, job_results, write_comparison


class AfterMultirun(Callback):
    """Hydra's hook after the last job, whichever launcher trained them."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Show the jobs side by side; exit with 1 if any failed."""
        from descent.sweep.hydra import told_how_to_go_on

        sweep = from_here(Path(config.hydra.sweep.dir))
        try:
            with one_sentence(), told_how_to_go_on(sweep):
                failed = conclude(config)
        except Exception:  # of which Hydra would make a warning
            traceback.print_exc()
            raise SystemExit(EXIT_FAILED) from None
        if failed:
            raise SystemExit(EXIT_FAILED)


def conclude(config: DictConfig, quiet: bool = False) -> bool:
    """Write a multirun's table, show what it says, draw its report; return whether a job failed.

    Args:
        config: of the multirun.
        quiet: show nothing: draw the report alone.
    """
    from descent.analysis.summary import print_summary

    sweep = from_here(Path(config.hydra.sweep.dir))
    found = job_results(sweep) if sweep.is_dir() else []
    rows = compare(sweep, found)
    if not rows:
        return False
    table = write_comparison(sweep, rows)
    document.add_multirun(sweep, table, found)
    if not quiet:
        print_summary(sweep, rows, str(config.optimized_metric))
    more = len(rows) > 1 and any(row["step"] for row in rows)
    if more and (config.report or not quiet) and "report" in SCRIPTS:
        _answer(sweep, list(config.trust), bool(config.report))
    return any(row["status"] == Status.FAILED for row in rows)


def _answer(sweep: Path, trust: list[str], drawn: bool) -> None:
    """Say what the multirun found; with its page, if that is to be drawn."""
    from descent.report.sweep_report import answer_of, open_sweep, report_sweep, tell

    # Hydra sets up the logs of jobs, and a multirun is none
    log, spoken = (
        logging.getLogger("descent.report.sweep_report"),
        logging.StreamHandler(sys.stdout),
    )
    log.addHandler(spoken)
    log.setLevel(logging.INFO)
    try:
        reporting = open_sweep(sweep, trust=trust)
        if drawn:
            report_sweep(reporting)
        else:
            tell(reporting, answer_of(reporting))
            print(f"{'report':<10} {command('report')} sweep={sweep}")
    except UserError as error:
        print(f"note: there is no report: {error}")
    finally:
        log.removeHandler(spoken)
