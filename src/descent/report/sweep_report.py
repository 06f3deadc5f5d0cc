"""After a multirun: the answer, its pictures, and a page with every run."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from descent.analysis.advice import Advice, advice
from descent.analysis.best import best_trial
from descent.analysis.grid import Grid
from descent.analysis.lesson import Lesson, lesson
from descent.analysis.settings import Measure, Setting, directed, is_stopped, measures, settings
from descent.analysis.study import read_study
from descent.analysis.targets import Hit, choose_target, hits, target_words
from descent.analysis.trials import OPTIMIZER, Study, label, ordered, text
from descent.errors import UserError, did_you_mean
from descent.records import document
from descent.records.endings import Status
from descent.records.tables import FULL_LOSS
from descent.report.page import PAGE, check_output, report_directory

if TYPE_CHECKING:
    from descent.report.style import Picture

log = logging.getLogger(__name__)

# Beside the measure that was asked for, the heat map is drawn of these.
MOST_PROBLEMS = 4  # whose options are drawn by themselves
ALSO_MAPPED = (FULL_LOSS, "steps to target")


@dataclass(frozen=True)
class SweepReporting:
    """What to report, read and checked.

    Args:
        study: the multirun.
        measures: by what settings are compared, the one asked for first.
        settings: by the measure's name, best first.
        target: the full loss by which times are compared; None if there is none.
        hits: when each trial reached it.
        output: the report's directory.
        trust: packages that the runs' configs may instantiate from beside ours.
        taught: what a comparison says instead of an answer; None for other sweeps.
    """

    study: Study
    measures: tuple[Measure, ...]
    settings: Mapping[str, Sequence[Setting]]
    target: float | None
    hits: Mapping[int, Hit | None]
    output: Path
    trust: tuple[str, ...]
    taught: Lesson | None = None


def open_sweep(
    sweep: Path,
    measure: str | None = None,
    target: float | None = None,
    output: Path | None = None,
    trust: Sequence[str] = (),
) -> SweepReporting:
    """Read and check everything; nothing is drawn or written yet.

    Args:
        sweep: the multirun's directory.
        measure: by whose name to compare; None for the metric that the sweep optimized.
        target: the full loss by which times are compared; None for that of `choose_target`.
        output: the report's directory; None for `report` in the multirun's.
        trust: packages that the runs' configs may instantiate from beside ours.

    Raises:
        UserError: this is no multirun, nothing of it can be compared, or the output cannot be used.
    """
    output = output or sweep / "report"
    study = read_study(sweep)
    check_output(output)
    target = choose_target(study) if target is None else target
    found = {} if target is None else hits(study, target)
    taught = lesson(study, target, found)
    wanted = [measure] if measure is not None else list(taught.measures if taught else ())
    compared = measures(study, target, wanted)
    if taught is not None and measure is None and not is_stopped(study):  # no target of its own
        compared = tuple(one for one in compared if one.target is None)
    known = _ordered(compared, study, measure, wanted)
    made = {one.name: settings(study, one, found) for one in known}
    return SweepReporting(study, known, made, target, found, output, tuple(trust), taught)


def _ordered(
    known: Sequence[Measure], study: Study, name: str | None, wanted: Sequence[str]
) -> tuple[Measure, ...]:
    sweep = study.directory
    if not known:
        raise UserError(
            f"No run of {sweep} has ended with a loss, so nothing can be compared yet; go on with "
            f"it, or see the reasons in {sweep / 'results.csv'}."
        )
    names = [measure.name for measure in known]
    if name is not None and name not in names:
        columns = {column for trial in study.trials for column in trial.figures}
        names += sorted(column for column in columns if directed(column) and column not in names)
        hint = did_you_mean(name, names) or "."
        raise UserError(
            f"measure='{name}' is not known in {sweep}{hint} Choose from {', '.join(names)}."
        )
    first = next((w for w in wanted if w in names), names[0])
    return tuple(sorted(known, key=lambda measure: measure.name != first))


def answer_of(reporting: SweepReporting, grids: Sequence[Grid] = ()) -> Advice:
    """Return what a multirun says: a comparison its lesson, others who is best and how sure."""
    if reporting.taught is not None:
        lead, *more = reporting.taught.sentences
        return Advice(None, (), (lead,), tuple(more), next_sweeps=reporting.taught.again)
    first = reporting.measures[0]
    answer = advice(reporting.study, reporting.settings[first.name], grids, first)
    if reporting.target is None:
        return answer
    told = target_words(reporting.study, reporting.target)
    return replace(answer, details=(*answer.details, told))


def tell(reporting: SweepReporting, answer: Advice) -> None:
    """Say what was left out, the answer, and what to type next; the page says the rest."""
    _document(reporting, answer)
    for note in reporting.study.left_out:
        log.info("note: %s", note)
    for sentence in (*answer.lead, *answer.doubts, *answer.edges, *answer.end):
        log.info("%s", sentence)
    whole = {trial.number: trial for trial in reporting.study.trials}
    for winner in answer.winners:
        values = whole[winner.trials[0].number].values  # with the problem
        which = f" of {label(values)}" if len(answer.winners) > 1 else ""
        log.info("best run%s: %s", which, best_trial(winner, reporting.measures[0]).directory)
    for command in answer.repeats:
        log.info("repeat it: %s", command)
    for following in answer.next_sweeps:
        log.info("next: %s (%s)\n  %s", following.aim, following.price, following.command)


def _document(reporting: SweepReporting, answer: Advice) -> None:
    measure = reporting.measures[0]
    winners = [
        {
            "setting": dict(winner.values),
            "mean": winner.mean,
            "spread": winner.spread,
            "runs": len(winner.trials),
            "best_run": best_trial(winner, measure).directory,
        }
        for winner in answer.winners
    ]
    document.note("study", {
        "directory": reporting.study.directory,
        "measure": measure.name,
        "lower_is_better": measure.lower,
        "answer": answer.sentences,
        "winners": winners,
        "tied": [dict(setting.values) for setting in answer.tied],
        "done": bool(answer.end),
        "repeat": answer.repeats,
    })  # fmt: skip
    for each in answer.next_sweeps:
        price = {"runs": each.runs, "steps": each.steps, "seconds": each.seconds}
        document.follow(each.command, each.aim, **price)


def report_sweep(reporting: SweepReporting) -> Path:
    """Draw the pictures, write the page, and say what was written and what there is to see.

    Returns:
        The report's directory.
    """
    from descent.report.style import look, save
    from descent.report.sweep.sweep_page import write_sweep_page

    study, notes = reporting.study, list(reporting.study.left_out)
    with report_directory(reporting.output) as part:
        with look():
            answer, pictures = drawn(reporting, notes)
            for picture in pictures:
                save(picture, part)
        write_sweep_page(
            part / PAGE, study, reporting.measures, reporting.settings, answer, pictures, notes
        )
    tell(reporting, answer)
    document.note("report", reporting.output / PAGE)
    log.info("%s", reporting.output / PAGE)
    return reporting.output


def drawn(reporting: SweepReporting, notes: list[str]) -> tuple[Advice, list[Picture]]:
    """Return what a multirun says, and its pictures, in the order of its page.

    Args:
        reporting: of `open_sweep`.
        notes: gets what the reader must know of pictures that are not drawn.
    """
    taught = reporting.taught
    grids = _grids(reporting) if taught is None else ()
    answer = answer_of(reporting, grids)
    if taught is None:
        return answer, _pictures(reporting, grids, notes)
    return answer, _lesson_pictures(reporting, taught, notes)


def _grids(reporting: SweepReporting) -> Sequence[Grid]:
    from descent.analysis.boundary import Sharpnesses, boundaries
    from descent.analysis.grid import grids

    first = reporting.measures[0]
    found = grids(reporting.study, reporting.settings[first.name], first)
    return boundaries(reporting.study, found, Sharpnesses(reporting.trust))


def _pictures(reporting: SweepReporting, grids: Sequence[Grid], notes: list[str]) -> list[Picture]:
    from descent.analysis import bands as curves
    from descent.analysis import performance
    from descent.analysis.critical_batch import scalings
    from descent.analysis.scatter import scatter
    from descent.analysis.sensitivity import lines
    from descent.analysis.stability import stability_lines
    from descent.report.sweep.batch_scaling import scaling
    from descent.report.sweep.loss_bands import bands
    from descent.report.sweep.lr_lines import sensitivity
    from descent.report.sweep.profiles import performance as profiles
    from descent.report.sweep.search_panels import scatter_picture
    from descent.report.sweep.stability_plot import edge_of_stability

    study, (first, *others) = reporting.study, reporting.measures
    names = ordered(t.values[OPTIMIZER] for t in study.trials) if OPTIMIZER in study.swept else ()
    places = {text(name): i for i, name in enumerate(names)}  # one colour each on the whole page
    own = reporting.settings[first.name]
    searched = scatter(study, own, first)
    # of a search a map would be holes between cells
    drawn: list[Picture | None] = [scatter_picture(searched)] if searched is not None else []
    drawn += _maps(reporting, grids) if searched is None else []
    # what training begins at, and so the figure of sensitivity, is known of the full loss alone
    by_line = [first, *(measure for measure in others if measure.name == FULL_LOSS)]
    # a line over one drawn option would jump with the others
    for measure in by_line if searched is None or len(searched.options) == 1 else ():
        found = lines(study, measure, reporting.hits)
        picture = sensitivity(found, places) if found is not None else None
        name = "sensitivity" if measure is first else f"sensitivity_{measure.name}"
        drawn.append(_named(picture, name))
    if reporting.target is not None:
        sizes = scalings(study, reporting.target, reporting.hits)
        drawn.append(scaling(sizes, places))
        if drawn[-1] is None:  # whose caption would have said it
            notes += [size.budget for size in sizes if size.budget]
    drawn += _options_alone(reporting, searched is None, notes)
    drawn.append(edge_of_stability(stability_lines(study, own), places))
    profile = performance.profile(study)
    drawn.append(profiles(profile, places) if profile is not None else None)
    shown = curves.bands(study, own, first.label)
    drawn.append(bands(shown, places))
    return [picture for picture in drawn if picture is not None]


def _options_alone(
    reporting: SweepReporting, gridded: bool, notes: list[str]
) -> list[Picture | None]:
    """Return each option by itself (of a grid), and which options matter, problem by problem."""
    from descent.analysis.among_best import among_best
    from descent.analysis.isolation import isolated
    from descent.analysis.performance import problems_of
    from descent.report.sweep.isolation_plots import isolation
    from descent.report.sweep.option_importance import importance_bars

    parts = problems_of(reporting.study)
    if len(parts) > MOST_PROBLEMS:
        notes.append(
            f"Options by themselves are drawn of {MOST_PROBLEMS} of the {len(parts)} problems."
        )
    first, drawn = reporting.measures[0], []
    for name, part in parts[:MOST_PROBLEMS]:  # whose scores cannot be compared
        own = settings(part, first, reporting.hits)
        alone = isolation(isolated(part, own), first) if gridded else None
        matter = importance_bars(part.influence, among_best(part, own))
        drawn += [_of_problem(picture, name) for picture in (alone, matter)]
    return drawn


def _maps(reporting: SweepReporting, grids: Sequence[Grid]) -> list[Picture | None]:
    """Return the heat maps over lr and batch size of all measures that have one."""
    from descent.analysis import grid
    from descent.report.sweep.heatmap import heatmap

    drawn: list[Picture | None] = [heatmap(grids)]
    for measure in reporting.measures[1:]:
        if measure.name in ALSO_MAPPED:
            cells = grid.grids(reporting.study, reporting.settings[measure.name], measure)
            # the boundary is one of lr and batch size, whatever is measured
            bounded = [replace(c, boundary=g.boundary) for c, g in zip(cells, grids, strict=True)]
            drawn.append(_named(heatmap(bounded), f"heatmap_{measure.name}"))
    return drawn


def _of_problem(picture: Picture | None, name: str) -> Picture | None:
    """Say which of several problems a picture is of."""
    if picture is None or not name:
        return picture
    file = re.sub(r"\W+", "_", name)
    return replace(picture, name=f"{picture.name}_{file}", title=f"{picture.title}: {name}")


def _lesson_pictures(reporting: SweepReporting, taught: Lesson, notes: list[str]) -> list[Picture]:
    """Draw the runs of a comparison as a report of runs does: there are few."""
    from descent.report.gallery import lesson_pictures
    from descent.report.record import check_comparable, labelled, read_record

    drawn = [t for t in reporting.study.trials if t.status in (Status.OK, Status.DIVERGED)]
    try:
        records = [read_record(trial.directory) for trial in drawn]
        check_comparable(records)
    except UserError as error:
        notes.append(f"The runs are not drawn: {str(error).rstrip('.')}.")
        return []
    # runs that descend different losses have no ground in common, and need none here
    return lesson_pictures(labelled(records), reporting.trust, [], taught.measures)


def _named(picture: Picture | None, name: str) -> Picture | None:
    """Give a second picture of a kind its own file."""
    return picture and replace(picture, name=name.replace("/", "_").replace(" ", "_"))
