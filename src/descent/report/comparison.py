"""Several multiruns on one page: their best settings, how far apart, and what they cost."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from descent.analysis.bands import bands_of_sweeps
from descent.analysis.best import best_trial
from descent.analysis.compared import (
    Comparison,
    Contender,
    compare,
    compared_words,
    contender,
    differences,
    interval_words,
    named,
    own_part,
)
from descent.analysis.search import Next, confirm, repeat
from descent.analysis.settings import Measure
from descent.analysis.trials import label, problem_keys
from descent.analysis.wording import no_winner_words, percent, with_spread
from descent.config.check import flatten
from descent.data.arrays import Task
from descent.errors import UserError, counted, joined
from descent.files.atomic import write
from descent.records import document
from descent.report.page import GENERATOR, PAGE, embedded, report_directory, template
from descent.report.printed import Printed, write_files
from descent.report.record import difference, read_record
from descent.report.sweep_report import SweepReporting, open_sweep

if TYPE_CHECKING:
    from descent.report.style import Picture

log = logging.getLogger(__name__)

TEMPLATE = Path(__file__).with_name("comparison.html")
OVERLAID = 2  # of whose best settings curves are drawn
LOSS = "loss"


@dataclass(frozen=True)
class ComparisonReporting:
    """What to compare, read and checked.

    Args:
        directories: of the multiruns, by what they are called.
        found: how they compare.
        notes: what the reader must know first.
        output: the report's directory.
    """

    directories: Mapping[str, Path]
    found: Comparison
    notes: tuple[str, ...]
    output: Path


def open_comparison(
    sweeps: Sequence[Path],
    measure: str | None = None,
    target: float | None = None,
    output: Path | None = None,
    outputs: Path = Path("outputs"),
) -> ComparisonReporting:
    """Read and check several multiruns; nothing is drawn or written yet.

    Args:
        sweeps: their directories.
        measure: by whose name to compare; None for the metric that all of them optimized.
        target: the full loss by which times are compared; None for the one that their runs had.
        output: the report's directory; None for a new one below `outputs`.
        outputs: where reports go.

    Raises:
        UserError: one of them is no multirun, or they cannot be compared.
    """
    if len({sweep.resolve() for sweep in sweeps}) < len(sweeps):
        raise UserError("sweep=[...] names one multirun twice; give each once.")
    output = output or outputs / "reports" / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    opened = [open_sweep(sweep, measure, target, output) for sweep in sweeps]
    common = _common(opened, measure)
    names = named(sweeps)
    contenders = [_contender(name, one, common) for name, one in zip(names, opened, strict=True)]
    notes = [
        f"{n}: {note}" for n, one in zip(names, opened, strict=True) for note in one.study.left_out
    ]
    notes += [
        f"{n} follows earlier sweeps; here it is told by its own trials alone."
        for n, one in zip(names, opened, strict=True) if one.study.earlier
    ]  # fmt: skip
    notes += [f"{c.name}: {no_winner_words(c.settings)}" for c in contenders if c.winner is None]
    if all(c.winner is None for c in contenders):
        raise UserError(
            f"No setting of {joined(names)} ended well with every seed, so there is nothing to "
            "compare."
        )
    _check_one_problem(sweeps, contenders, common)
    found = compare(contenders, common)
    directories = dict(zip(names, sweeps, strict=True))
    return ComparisonReporting(directories, found, tuple(notes), output)


def _common(opened: Sequence[SweepReporting], asked: str | None) -> Measure:
    """Return the measure by which each of the multiruns is compared.

    Raises:
        UserError: they optimized different metrics, or stopped at different targets.
    """
    firsts = [one.measures[0] for one in opened]
    where = [str(one.study.directory) for one in opened]
    for one, first in zip(opened, firsts, strict=True):
        keys = problem_keys(one.study)
        if keys:
            raise UserError(
                f"{one.study.directory} holds several problems ({joined(keys)} was swept), whose "
                "scores cannot be compared; give sweeps of one problem each."
            )
        if first.name != firsts[0].name:
            shared = [m.name for m in opened[0].measures if _has_all(opened, m.name)]
            hint = (
                f"measure={' or measure='.join(shared[:2])}" if shared else "sweeps of one metric"
            )
            raise UserError(
                f"{where[0]} is judged by {firsts[0].name} and {one.study.directory} by "
                f"{first.name}; give {hint}."
            )
        if first.target != firsts[0].target:
            raise UserError(
                f"Times to a full loss of {firsts[0].target:.4g} ({where[0]}) and of "
                f"{first.target:.4g} ({one.study.directory}) cannot be compared; give one "
                "target=..., or another measure=..."
            )
    return firsts[0]


def _has_all(opened: Sequence[SweepReporting], name: str) -> bool:
    return all(any(m.name == name and m.target is None for m in one.measures) for one in opened)


def _contender(name: str, opened: SweepReporting, measure: Measure) -> Contender:
    from descent.analysis.settings import settings
    from descent.records.run import Run

    study = own_part(opened.study)
    ranked = settings(study, measure, opened.hits)
    found = contender(name, study, ranked, measure, study.config)
    if found.winner is None:
        return found
    config = Run(best_trial(found.winner, measure).directory).config()
    return contender(name, study, ranked, measure, config)


def _check_one_problem(
    sweeps: Sequence[Path], contenders: Sequence[Contender], measure: Measure
) -> None:
    """Refuse sweeps of different data, tasks or losses.

    Raises:
        UserError: which two, and why.
    """
    known = [(s, c) for s, c in zip(sweeps, contenders, strict=True) if c.winner is not None]
    records = []
    for _, each in known:
        assert each.winner is not None
        records.append(read_record(best_trial(each.winner, measure).directory))
    for (sweep, each), record in zip(known[1:], records[1:], strict=True):
        why = difference(records[0], record)
        if why is None and measure.target is None and measure.name.endswith(LOSS):
            why = _losses_differ(known[0][1], each, "full_loss" in measure.name, record.data.task)
        if why is not None:
            raise UserError(
                f"{known[0][0]} and {sweep} are not of one problem: {why}; give sweeps of the same "
                "task and data."
            )


def _losses_differ(one: Contender, other: Contender, penalised: bool, task: Task) -> str | None:
    """Return the first option in which two configs mean another thing by a loss."""
    ours, theirs = (_losses(each.config, penalised, task) for each in (one, other))
    for key in {**ours, **theirs}:
        if ours.get(key) != theirs.get(key):
            return f"{key} is {ours.get(key)} in one and {theirs.get(key)} in the other"
    return None


def _losses(config: Mapping[str, Any], penalised: bool, task: Task) -> dict[str, Any]:
    parts = ("loss.", "data.scale_target", *(("penalty.",) if penalised else ()))
    found = {key: value for key, value in flatten(config) if key.startswith(parts)}
    target = f"{found.pop('loss._target_', 'Usual')}".rsplit(".", 1)[-1]
    if target == "Usual":  # what the others say by name
        target = "MSE" if task is Task.REGRESSION else "CrossEntropy"
    if target == "CrossEntropy":
        found.setdefault("loss.label_smoothing", 0.0)
    return {"loss": target, **found}


def answer_of(found: Comparison) -> tuple[list[str], list[str]]:
    """Return who is best, and what is to be said of that."""
    lead, told = compared_words(found)
    return lead, [*told, _budget_words(found)]


def _budget_words(found: Comparison) -> str:
    spent = [
        f"{each.name} {counted(len(each.study.trials), 'run')}, {each.taken('step'):,.0f} steps"
        for each in found.ranked
    ]
    return f"Spent: {'; '.join(spent)}."


def next_of(found: Comparison) -> list[Next]:
    """Return the sweeps that give each best setting the same fresh seeds, to be compared again."""
    every = [t for each in found.ranked for t in each.study.trials]
    made = []
    for each in found.ranked[:OVERLAID]:
        if each.winner is not None and not _is_confirmed(found):
            following = confirm(each.study, each.winner, (), every)
            if following is not None and each.study.swept:
                made.append(replace(following, aim=f"{each.name}: {following.aim}"))
    return made if len(made) == OVERLAID else []


def _is_confirmed(found: Comparison) -> bool:
    """Whether nothing was picked: each sweep holds one setting."""
    return all(len(each.settings) == 1 for each in found.ranked)


def winners_table(found: Comparison) -> Printed:
    """Return the best setting of each sweep, and how far it is behind the best of all."""
    rows, exact = [], []
    for each, effect in zip(found.ranked, [None, *found.effects], strict=True):
        winner = each.winner
        if winner is None:
            rows.append([each.name, *["–"] * 6])
            exact.append([each.name, *[""] * 9])
            continue
        who, seeds = label(winner.values) or "the only setting", len(winner.scores)
        behind = ["–"] * 3
        if each is found.best:
            behind[0] = "best"
        elif effect is not None:
            size = percent(effect.size) if effect.ratio else f"{effect.size:.2g}"
            behind = [size, interval_words(effect), f"{effect.won:g} of {effect.pairs}"]
        rows.append([each.name, who, with_spread(winner.mean, winner.spread), str(seeds), *behind])
        numbers = [winner.mean, winner.spread, seeds]
        ends = [] if effect is None else [
            effect.size, effect.interval.low, effect.interval.high, effect.won, effect.pairs,
            int(effect.ratio),
        ]  # fmt: skip
        told = [_exact(v) for v in [*numbers, *ends]]
        exact.append([each.name, who, *told, *[""] * (9 - len(told))])
    heads = ["sweep", "best setting", found.measure.label, "seeds", "behind by", "95% interval",
             "best wins"]  # fmt: skip
    columns = ["sweep", "best setting", found.measure.name, "sd", "n", "behind", "low", "high",
               "pairs won by the best", "pairs", "behind is a share"]  # fmt: skip
    return Printed("winners", heads, rows, frozenset({2, 3, 4, 5, 6}), exact, columns)


def _exact(value: float) -> str:
    return repr(value) if math.isfinite(value) else ""


def options_table(found: Comparison) -> Printed:
    """Return the options in which the sweeps differ."""
    rows = [[key, *told] for key, told in differences(found.ranked)]
    return Printed("options", ["option", *(each.name for each in found.ranked)], rows)


def budgets_table(found: Comparison) -> Printed:
    """Return what each sweep took, all runs together."""
    heads = ["sweep", "runs", "diverged or failed", "settings", "steps", "samples", "seconds"]
    values = [
        [len(c.study.trials), c.lost, len(c.settings), int(c.taken("step")),
         int(c.taken("samples")), c.taken("seconds")]
        for c in found.ranked
    ]  # fmt: skip
    rows = [
        [c.name, *(f"{v:,}" for v in own[:-1]), f"{own[-1]:.3g}"]
        for c, own in zip(found.ranked, values, strict=True)
    ]
    exact = [[c.name, *map(str, own)] for c, own in zip(found.ranked, values, strict=True)]
    return Printed("budgets", heads, rows, frozenset(range(1, len(heads))), exact)


def overlay(found: Comparison) -> Picture | None:
    """Draw the loss curves of the best settings of the two best sweeps."""
    from descent.report.sweep.loss_bands import bands

    chosen = [(c.name, c.study, c.winner) for c in found.ranked[:OVERLAID] if c.winner is not None]
    return bands(bands_of_sweeps(chosen, found.measure.label))


def report_comparison(reporting: ComparisonReporting) -> Path:
    """Draw the picture, write the page, and say what was written and what there is to see.

    Returns:
        The report's directory.
    """
    from descent.report.style import look, save

    found, notes = reporting.found, list(reporting.notes)
    lead, told = answer_of(found)
    tables = [winners_table(found), options_table(found), budgets_table(found)]
    following = next_of(found)
    with report_directory(reporting.output) as part:
        with look():
            picture = overlay(found)
            if picture is None:
                notes.append("The runs recorded no loss, so no curves are drawn.")
            else:
                save(picture, part)
        for table in tables:
            write_files(part, table.files)
        page = template(TEMPLATE).render(
            generator=GENERATOR,
            title=f"{len(found.ranked)} sweeps by {found.measure.label}",
            notes=notes, lead=lead, told=told, winners=tables[0], options=tables[1],
            budgets=tables[2], picture=embedded(picture, part) if picture else None,
            following=following, pages=_pages(reporting), repeats=_repeats(found),
        )  # fmt: skip
        write(part / PAGE, page.encode(errors="backslashreplace"))
    _tell(reporting, notes, [*lead, *told], following)
    return reporting.output


def _pages(reporting: ComparisonReporting) -> list[tuple[str, str]]:
    """Return each sweep's own report, as seen from the page."""
    found = []
    for name, directory in reporting.directories.items():
        page = directory / "report" / PAGE
        if page.is_file():
            found.append((name, quote(os.path.relpath(page, reporting.output))))
    return found


def _repeats(found: Comparison) -> list[tuple[str, str]]:
    return [(c.name, repeat(c.study, c.winner)) for c in found.ranked if c.winner is not None]


def _tell(
    reporting: ComparisonReporting,
    notes: Sequence[str],
    told: Sequence[str],
    following: Sequence[Next],
) -> None:
    found = reporting.found
    document.note("comparison", {
        "measure": found.measure.name,
        "lower_is_better": found.measure.lower,
        "answer": told,
        "sweeps": noted(reporting),
    })  # fmt: skip
    for note in notes:
        log.info("note: %s", note)
    for sentence in told:
        log.info("%s", sentence)
    for each in following:
        document.follow(each.command, each.aim, runs=each.runs, steps=each.steps,
                        seconds=each.seconds)  # fmt: skip
        log.info("next: %s (%s)\n  %s", each.aim, each.price, each.command)
    document.note("report", reporting.output / PAGE)
    log.info("%s", reporting.output / PAGE)


def noted(reporting: ComparisonReporting) -> list[dict[str, Any]]:
    """Return the sweeps as plain values, best first."""
    found = reporting.found
    made = []
    for each, effect in zip(found.ranked, [None, *found.effects], strict=True):
        winner = each.winner
        one: dict[str, Any] = {"directory": reporting.directories[each.name]}
        one |= dict.fromkeys(("setting", "mean", "spread", "best_run", "behind"))
        if winner is not None:
            one |= {
                "setting": dict(winner.values),
                "mean": winner.mean,
                "spread": winner.spread,
                "best_run": best_trial(winner, found.measure).directory,
            }
        if effect is not None:
            low, high = effect.interval.low, effect.interval.high
            one["behind"] = {"size": effect.size, "low": low, "high": high, "share": effect.ratio}
        taken = {"steps": int(each.taken("step")), "seconds": each.taken("seconds")}
        made.append(one | {"runs": len(each.study.trials), "settings": len(each.settings)} | taken)
    return made
