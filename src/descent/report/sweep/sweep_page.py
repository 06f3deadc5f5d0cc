"""The page of a sweep: the answer, its pictures, its settings and every run."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from descent.analysis.advice import Advice
from descent.analysis.last_epochs import at_the_end
from descent.analysis.settings import Measure, Setting
from descent.analysis.trials import Study, Trial, ordered
from descent.errors import counted, joined
from descent.files.atomic import write
from descent.records.endings import Status
from descent.report.page import GENERATOR, embedded, template
from descent.report.printed import links, write_files
from descent.report.style import Picture, share, shown
from descent.report.sweep.setting_tables import mark_of, setting_files, who

if TYPE_CHECKING:
    from markupsafe import Markup


Column = dict[str, Any]

TAKEN = ("step", "samples", "seconds")


def study_columns(
    study: Study,
    measures: Sequence[Measure],
    settings: Mapping[str, Sequence[Setting]],
    place: Path,
) -> dict[str, Any]:
    """Return what the page embeds as JSON.

    Args:
        study: the trials.
        measures: by what they are compared.
        settings: by the measure's name; they hold the scores.
        place: the directory of the page, from which links start.

    Returns:
        `columns`, in the order of the table: each has a name and `numbers` or `texts`; `more`
        marks those shown on request. `measures`, each with the number of its column. `commands`.
        Numbers that JSON does not know are the words nan, inf and -inf.
    """
    trials = study.trials
    names = list(dict.fromkeys(name for trial in trials for name in trial.figures))
    # test scores of all runs would make the test rows a second validation set
    names = [name for name in names if not name.startswith("test/")]
    figures = {name: _numbers(name, [t.figures.get(name) for t in trials]) for name in names}
    scored = []
    for measure in measures:
        scores = {n: s for setting in settings[measure.name] for n, s in setting.scores.items()}
        if _agrees(trials, measure.name, scores):
            scored.append(figures.pop(measure.name))
        else:
            name = measure.label if measure.name in figures else measure.name
            scored.append(_numbers(name, [scores.get(t.number) for t in trials]))
    before = [
        _texts("run", [str(t.number) for t in trials]),
        *(_swept(trials, option) for option in study.swept),
        *_seeds(trials),
        _texts("status", [t.status for t in trials]) | {"reasons": [t.reason for t in trials]},
    ]
    after = [
        *(_numbers(name, [getattr(t, name) for t in trials]) for name in TAKEN),
        *(column | {"more": True} for column in figures.values()),
        _directories(trials, place),
    ]
    return {
        "count": len(trials),
        "columns": [*before, *scored, *after],
        "measures": [
            {"label": measure.label, "lower": measure.lower, "column": len(before) + i}
            for i, measure in enumerate(measures)
        ],
        "commands": [trial.command for trial in trials],
    }


def _numbers(name: str, values: Sequence[Any]) -> Column:
    whole = all(isinstance(value, int) for value in values if value is not None)
    numbers = [_speakable(value) for value in values]
    return {"name": name, "numbers": numbers} | ({"whole": True} if whole else {})


def _texts(name: str, values: Sequence[str | None]) -> Column:
    return {"name": name, "texts": list(values)}


def _swept(trials: Sequence[Trial], option: str) -> Column:
    values = [trial.values.get(option) for trial in trials]
    if any(isinstance(value, str) for value in values):
        texts = [value if value is None else str(value) for value in values]
        order = [str(value) for value in ordered(v for v in values if v is not None)]
        return _texts(option, texts) | {"swept": True, "order": order}
    return _numbers(option, values) | {"swept": True}


def _seeds(trials: Sequence[Trial]) -> list[Column]:
    """Return the seeds, without `seed=` where that is all there is; nothing where none is."""
    if not any(trial.seed for trial in trials):
        return []
    keys = {trial.seed.partition("=")[0] for trial in trials if trial.seed}
    alike = len(keys) == 1 and not any(" " in trial.seed for trial in trials)
    name = keys.pop() if alike else "seed"
    cut = len(name) + 1 if alike else 0
    return [_texts(name, [trial.seed[cut:] or None for trial in trials]) | {"seed": True}]


def _directories(trials: Sequence[Trial], place: Path) -> Column:
    """Return the names of the runs' directories, and links to those that there are."""
    links = [
        quote(os.path.relpath(trial.directory, place)) + "/" if trial.directory.is_dir() else None
        for trial in trials
    ]
    return _texts("directory", [trial.directory.name for trial in trials]) | {"links": links}


def _agrees(trials: Sequence[Trial], name: str, scores: Mapping[int, float]) -> bool:
    """Whether the table's own column says what the scores say, so that one of them is enough."""
    return any(name in trial.figures for trial in trials) and all(
        _known(trial.figures.get(name)) == scores.get(trial.number)
        for trial in trials
        if trial.status == Status.OK
    )


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _speakable(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


MOST_SETTINGS = 100  # rows; the table of all runs holds the rest


@dataclass(frozen=True)
class SettingRow:
    """A row as it is shown.

    Args:
        mark: `best`, `tied` or empty.
        values: of the swept options.
        runs: how many.
        diverged: the share of them, or nothing.
        measures: mean ± spread of each measure, and over how many runs where some have none.
        end: what its last epoch says, of `at_the_end`.
    """

    mark: str
    values: list[str]
    runs: str
    diverged: str
    measures: list[tuple[str, str]]
    end: str


def setting_rows(
    swept: Sequence[str],
    measures: Sequence[Measure],
    settings: Mapping[str, Sequence[Setting]],
    advice: Advice,
) -> list[SettingRow]:
    """Return the settings in the order of the first measure, best first.

    Args:
        swept: the columns.
        measures: a column each.
        settings: by the measure's name.
        advice: knows the winner and who is tied.
    """
    if not measures:
        return []
    others = [{who(s): s for s in settings[measure.name]} for measure in measures]
    rows = []
    for setting in settings[measures[0].name][:MOST_SETTINGS]:
        same = [by.get(who(setting)) for by in others]
        rows.append(
            SettingRow(
                mark=mark_of(setting, advice),
                values=[shown(setting.values.get(option)) for option in swept],
                runs=shown(len(setting.trials)),
                diverged=share(setting.diverged) if setting.diverged else "",
                measures=[_told(s) if s else ("–", "") for s in same],
                end=at_the_end(setting, measures[0]),
            )
        )
    return rows


def _told(setting: Setting) -> tuple[str, str]:
    """Return mean ± standard deviation, and how many of the runs that is where it is not all."""
    known, runs = len(setting.scores), len(setting.trials)
    if not known:
        return "–", ""
    mean = shown(setting.mean)
    if known > 1:
        mean += f" ± {shown(float(f'{setting.spread:.2g}'))}"
    return mean, f"{known} of {runs}" if known < runs else ""


HERE = Path(__file__).parent
STYLES = (HERE.with_name("page.css"), HERE / "sweep.css")
ORDER = [
    "shown",
    "runs",
    "filters",
    "table",
    "files",
    "scales",
    "colours",
    "axes",
    "dots",
    "pointing",
    "main",
]
# one module: each builds on those before it
SCRIPTS = [HERE / "script" / f"{name}.js" for name in ORDER]
MOST_NAMED = 4  # options in the title
MOST_VALUES = 8  # of an option that are named one by one


def write_sweep_page(
    path: Path,
    study: Study,
    measures: Sequence[Measure],
    settings: Mapping[str, Sequence[Setting]],
    advice: Advice,
    pictures: Sequence[Picture],
    notes: Sequence[str],
) -> None:
    """Write the page, one file that needs no other and no network, and its table as files.

    Args:
        path: of the file; the pictures' PNG files lie beside it. Links to the runs start here.
        study: the runs.
        measures: by what they are compared; the first one orders the table of settings.
        settings: by the measure's name, best first.
        advice: what to say first.
        pictures: in order.
        notes: what the reader must know before all else, such as what was left out.
    """
    style, script = _source(STYLES), _source(SCRIPTS)
    rows = setting_rows(study.swept, measures, settings, advice)
    files = setting_files(study.swept, measures, settings, advice)
    page = template(HERE / "page.html").render(
        generator=GENERATOR,
        policy=f"style-src {_hash(style)}; script-src {_hash(script)}",
        style=style,
        script=script,
        data=_island(study_columns(study, measures, settings, path.parent)),
        title=sweep_title(study),
        directory=study.directory.name,
        counts=_counts(study),
        swept=[(option, _values(study, option)) for option in study.swept],
        notes=list(dict.fromkeys([*notes, *study.left_out])),
        advice=advice,
        pictures=[embedded(picture, path.parent) for picture in pictures],
        measures=measures,
        options=study.swept,
        numbers=[option for option in study.swept if _only_numbers(study, option)],
        rows=rows,
        files=links(files),
        ends=any(row.end for row in rows),
        more=max(0, len(settings[measures[0].name]) - MOST_SETTINGS) if measures else 0,
    )
    write_files(path.parent, files)
    # a path may hold bytes that are no text
    write(path, page.encode(errors="backslashreplace"))


def sweep_title(study: Study) -> str:
    """Return what was swept, and in how many runs."""
    runs = counted(len(study.trials), "run")
    if not study.swept:
        return f"One setting, {runs}"
    if len(study.swept) > MOST_NAMED:
        return f"Sweep of {len(study.swept)} options, {runs}"
    return f"Sweep of {joined(study.swept)}, {runs}"


def _counts(study: Study) -> list[tuple[str, str]]:
    """Return status and how many runs have it, in the order of `Status`, then the most first."""
    counts = Counter(str(trial.status) for trial in study.trials)
    order = [str(status) for status in (Status.OK, Status.DIVERGED, *Status) if status in counts]
    return [(s, shown(counts[s])) for s in dict.fromkeys([*order, *sorted(counts)])]


def _only_numbers(study: Study, option: str) -> bool:
    return not any(isinstance(trial.values.get(option), str) for trial in study.trials)


def _values(study: Study, option: str) -> str:
    values = {trial.values[option] for trial in study.trials if option in trial.values}
    numbers = [value for value in values if not isinstance(value, str)]
    if len(values) <= MOST_VALUES:
        own = (trial.values[option] for trial in study.trials if option in trial.values)
        return ", ".join(map(shown, ordered(own)))  # 8 before 16 before full
    told = f"{len(values):,} values"
    if len(numbers) < len(values):
        return told
    return f"{told} from {shown(min(numbers))} to {shown(max(numbers))}"


def _source(paths: Sequence[Path]) -> Markup:
    """Return files of ours, to be written into the page as they are."""
    from markupsafe import Markup

    return Markup("\n".join(path.read_text(encoding="utf-8") for path in paths))


def _hash(source: str) -> str:
    """Return by what the page's policy knows a script or style of ours; it lets no other run."""
    digest = hashlib.sha256(source.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _island(columns: Mapping[str, Any]) -> Markup:
    """Return JSON that no text in it can end."""
    from markupsafe import Markup

    text = json.dumps(columns, separators=(",", ":"), allow_nan=False)
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)
