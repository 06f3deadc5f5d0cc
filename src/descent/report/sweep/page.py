"""The page of a sweep: the answer, its pictures, its settings and every run."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descent.endings import Status
from descent.errors import counted
from descent.recording.atomic import write
from descent.report.page import GENERATOR, embedded, template
from descent.report.picture import Picture
from descent.report.style import listed, shown
from descent.report.sweep.columns import study_columns
from descent.report.sweep.settings import MOST_SETTINGS, setting_rows
from descent.study.advice import Advice
from descent.study.options import ordered
from descent.study.settings import Measure, Setting
from descent.study.trials import Study

if TYPE_CHECKING:
    from markupsafe import Markup

HERE = Path(__file__).parent
STYLES = (HERE.with_name("page.css"), HERE / "sweep.css")
ORDER = [
    "shown",
    "runs",
    "filters",
    "table",
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
    """Write the page: one file that needs no other and no network.

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
    page = template(HERE / "page.html").render(
        generator=GENERATOR,
        policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; "
        f"script-src {_hash(script)}; base-uri 'none'; form-action 'none'",
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
        rows=setting_rows(study.swept, measures, settings, advice),
        more=max(0, len(settings[measures[0].name]) - MOST_SETTINGS) if measures else 0,
    )
    # a path may hold bytes that are no text
    write(path, page.encode(errors="backslashreplace"))


def sweep_title(study: Study) -> str:
    """Return what was swept, and in how many runs."""
    runs = counted(len(study.trials), "run")
    if not study.swept:
        return f"One setting, {runs}"
    if len(study.swept) > MOST_NAMED:
        return f"Sweep of {len(study.swept)} options, {runs}"
    return f"Sweep of {listed(study.swept)}, {runs}"


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
