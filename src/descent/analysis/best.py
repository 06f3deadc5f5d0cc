"""What a multirun's directory stands for where one run is wanted: the best setting's best run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from descent.analysis.advice import advice
from descent.analysis.performance import problems_of
from descent.analysis.settings import Measure, Setting, measures, settings
from descent.analysis.study import check_multirun, read_study
from descent.analysis.targets import choose_target, hits
from descent.analysis.trials import Study, Trial, label, repeat_word
from descent.analysis.wording import no_winner_words
from descent.errors import UserError, counted
from descent.records.run import CONFIG


@dataclass(frozen=True)
class BestRun:
    """A run that stands for its multirun.

    Args:
        directory: of the run.
        sentence: which setting it is of, by which measure, and how it was chosen among its seeds.
        setting: the values of the swept options, as typed.
        measure: what settings were compared by.
        score: the run's own.
    """

    directory: Path
    sentence: str
    setting: str
    measure: str
    score: float


def run_meant(path: Path) -> tuple[Path, str | None]:
    """Return the run that a directory stands for: itself, or the best run of a multirun.

    Returns:
        The run's directory, and for a multirun the sentence that says which run of it this is.

    Raises:
        UserError: it is a multirun that has no best run.
    """
    if not path.is_dir() or (path / CONFIG).is_file():
        return path, None  # whoever reads the run says what is wrong with it
    try:
        check_multirun(path)
    except UserError:
        return path, None
    best = best_run(path)
    return best.directory, best.sentence


def best_run(sweep: Path, measure: str | None = None) -> BestRun:
    """Return the best run of a multirun's best setting, which is the one that its report names.

    Where every setting lost a run (diverged, failed, or not ended yet), the best of what is left is
    taken, and the sentence says so.

    Args:
        sweep: the multirun's directory.
        measure: what to compare by, as in the report; None for the metric that it optimized.

    Raises:
        UserError: it is no multirun, has several problems, or no run of it ended with a score.
    """
    study = read_study(sweep)
    target = choose_target(study)
    reached = {} if target is None else hits(study, target)
    known = measures(study, target, [] if measure is None else [measure])
    chosen = next((m for m in known if measure is None or m.name == measure), None)
    if chosen is None:
        what = "with a score" if measure is None else f"with a '{measure}'"
        raise UserError(f"No run of {sweep} has ended {what}, so none of them is the best.")
    _check_one_problem(study, sweep)
    ranked = settings(study, chosen, reached)
    answer = advice(study, ranked, (), chosen)
    setting = answer.winner or next((s for s in ranked if s.scores), None)
    if setting is None:
        raise UserError(f"{sweep}: {no_winner_words(ranked)}")
    trial = best_trial(setting, chosen)
    number = trial.number
    return BestRun(
        trial.directory,
        _sentence(sweep, setting, chosen, trial.seed, number, answer.winner is None),
        label(setting.values),
        chosen.name,
        setting.scores[number],
    )


def best_trial(setting: Setting, measure: Measure) -> Trial:
    """Return the trial of a setting with the best score; the setting has one."""
    sign = 1 if measure.lower else -1
    number = min(setting.scores, key=lambda n: (sign * setting.scores[n], n))
    return next(t for t in setting.trials if t.number == number)


def _check_one_problem(study: Study, sweep: Path) -> None:
    names = [name for name, _ in problems_of(study)]
    if len(names) > 1:
        raise UserError(
            f"{sweep} holds {len(names)} problems ({', '.join(names)}), whose scores cannot be "
            "compared, so it has no one best run; give the directory of one of its runs."
        )


def _sentence(
    sweep: Path, setting: Setting, measure: Measure, seed: str, number: int, lost: bool
) -> str:
    """Return which run was taken, and what it was taken by."""
    name, score = label(setting.values), setting.scores[number]
    word = repeat_word(setting.trials)
    who = f"{name}{', ' if name and seed else ''}{seed}" or "its only run"
    told = f"The best run of {sweep} is {who}: {measure.label} {score:.4g}"
    if len(setting.scores) > 1:
        told += f", the best of the {len(setting.scores)} {word}s of the best setting"
    if lost:
        missing = len(setting.trials) - len(setting.scores)
        without = f", and {counted(missing, 'run')} of this one left no score" if missing else ""
        told += f"; no setting has ended well with every {word}{without}"
    return f"{told}."
