"""The next multirun as a command: the rest, wider, finer, or with fresh seeds."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from descent.endings import Status
from descent.study.fineness import between, beyond, training_rows, tried
from descent.study.options import learning_rate, number_in, ordered, short, text
from descent.study.reading import RECIPES
from descent.study.settings import Setting
from descent.study.trials import Study, Trial, Value

Next = tuple[str, str] | tuple[()]
"""A command, and what it is for; or nothing."""

FEW = 4  # seeds that are typed one by one
FRESH = 5  # seeds to confirm with, at least
MOST_CONFIRMED = 8  # settings in one command
NO_SWEEP = "hydra.sweeper.params=null"  # a recipe's own grid would multiply this one
SEARCH = "sweep=optuna"


def after_winner(
    study: Study,
    winner: Setting,
    tied: Sequence[Setting],
    edges: Mapping[str, int],
    coarse: Iterable[str],
) -> Next:
    """Return the sweep that follows a winner: wider, finer, or to confirm it.

    Args:
        study: the trials.
        winner: the best setting.
        tied: those that cannot be told from it.
        edges: of `fineness.edges`.
        coarse: options in which the grid is coarse.
    """
    options: dict[str, tuple[Value, ...]] = {k: (v,) for k, v in winner.values.items()}
    rows = training_rows(study) if edges else None
    aims = []
    for key, side in edges.items():
        further = beyond(key, tried(study, winner, key), side, rows)
        options[key] = ordered((winner.values[key], *further))
        aims.append(f"{'larger' if side > 0 else 'smaller'} {short(key)}")
    for key in coarse:
        at = number_in(winner.values[key]) or 0.0
        options[key] = between(key, tried(study, winner, key), at)
        aims.append(f"a finer grid of {short(key)}")
    if aims:
        return command(study, options, _seeds(study)), f"try {' and '.join(aims)}"
    if not study.swept:
        return first(study)
    kept = [winner]
    for setting in tied:  # as long as all combinations of their values are few
        if math.prod(map(len, _values([*kept, setting]).values())) > MOST_CONFIRMED:
            break
        kept.append(setting)
    who = "the best setting" if len(kept) == 1 else "the best setting and those tied with it"
    return command(study, _values(kept), _fresh(study)), f"confirm {who} with fresh seeds"


def _values(settings: Sequence[Setting]) -> dict[str, tuple[Value, ...]]:
    return {key: ordered(s.values[key] for s in settings) for key in settings[0].values}


def first(study: Study) -> Next:
    """Return a sweep of the learning rate, for runs that varied nothing but their seeds."""
    rate = (study.config.get("optimizer") or {}).get("lr")
    if not isinstance(rate, (int, float)) or rate <= 0:
        return ()
    shared = tuple(w for w in study.shared if not w.lstrip("+").startswith("optimizer.lr="))
    values = [float(f"{rate * factor:.2g}") for factor in (0.01, 0.1, 1, 10)]
    typed = command(replace(study, shared=shared), {"optimizer.lr": values}, _seeds(study))
    return typed, "find out how much the learning rate matters"


def without_winner(study: Study) -> Next:
    """Return a sweep of smaller learning rates, where trials diverged and no setting ended well."""
    rate = learning_rate(study)
    if rate is None or not any(t.status == Status.DIVERGED for t in study.trials):
        return ()
    options = {key: ordered(t.values[key] for t in study.trials) for key in study.swept}
    least = number_in(options[rate][0]) or 0.0
    options[rate] = tuple(float(f"{least * factor:.2g}") for factor in (0.01, 0.03, 0.1, 0.3))
    return command(study, options, _seeds(study)), "smaller learning rates, since none ended well"


def unfinished(study: Study) -> Next:
    """Return the command that trains what is left; nothing where the trials are no whole grid."""
    options = {key: ordered(t.values[key] for t in study.trials) for key in study.swept}
    luck = _luck(study.trials)
    if math.prod(map(len, [*options.values(), *luck.values()])) != len(study.trials):
        return ()
    typed = command(study, options, [*_seeds(study), f"sweep_dir={study.directory}"])
    return typed, "train the trials that have not ended"


def command(study: Study, options: Mapping[str, Iterable[Value]], seeds: Sequence[str]) -> str:
    """Return a multirun of all combinations of some options, as it is typed in a shell.

    Args:
        study: whose shared overrides are kept.
        options: values by option.
        seeds: words such as `seed=0,1`.
    """
    shared = [word for word in study.shared if word != SEARCH]
    recipe = any(word.partition("=")[0] in RECIPES for word in shared)
    words = [f"{key}={','.join(map(text, values))}" for key, values in options.items()]
    typed = [*shared, *([NO_SWEEP] if recipe else []), *words, *seeds]
    return shlex.join(["python", "src/train.py", "-m", *typed])


def _seeds(study: Study) -> list[str]:
    """Return the seeds of a study as they are typed."""
    return [f"{key}={_row(own)}" for key, own in _luck(study.trials).items()]


def _fresh(study: Study) -> list[str]:
    """Return seeds that no trial had: as many as there were, and five at least."""
    luck = _luck(study.trials) or {"seed": [int(study.config.get("seed", 0))]}
    key, own = next(iter(luck.items()))
    count, least = max(FRESH, len(own)), max(own) + 1
    rest = [f"{other}={_row(numbers)}" for other, numbers in luck.items() if other != key]
    return [f"{key}={_row(range(least, least + count))}", *rest]


def _row(numbers: Sequence[int]) -> str:
    """Return `0,1,2`, or `range(0,8)` for a longer row."""
    least, most = numbers[0], numbers[-1]
    if len(numbers) > FEW and most - least == len(numbers) - 1:
        return f"range({least},{most + 1})"
    return ",".join(map(str, numbers))


def _luck(trials: Sequence[Trial]) -> dict[str, list[int]]:
    """Return the seeds that trials had, by option."""
    found: dict[str, set[int]] = {}
    for trial in trials:
        for word in trial.seed.split():
            key, _, number = word.partition("=")
            if number.isdigit():
                found.setdefault(key, set()).add(int(number))
    return {key: sorted(numbers) for key, numbers in found.items()}
