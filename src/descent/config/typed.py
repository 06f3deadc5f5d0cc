"""What was typed, understood before Hydra reads it.

Hydra wants its flags first, and answers what it cannot read in its own words or not at all. Here
the words are put in its order, choices are looked up, texts that look like numbers stay texts, and
what cannot be meant gets its sentence, before anything is composed.
"""

from __future__ import annotations

import difflib
import math
import shlex
from argparse import Namespace
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    FloatRange,
    Glob,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    ValueType,
)
from hydra.errors import HydraException

from descent.config.hydra_release import arguments
from descent.config.options import RULES
from descent.config.spelling import CONF, command, program
from descent.config.vocabulary import CHOICES
from descent.errors import UserError, did_you_mean

MOST_JOBS = 100_000
# Groups whose choices add to each other; of every other group there is one choice.
SEVERAL = ("callbacks", "diagnostics", "logger")
# Groups of which nothing is chosen unless asked for.
OPTIONAL = ("landscape", "learner", "experiment", "sweep", "debug", "local")


def understood(words: Sequence[str], script: str) -> list[str]:
    """Return the words behind a command as Hydra reads them: flags first, texts in quotes.

    Args:
        words: what was typed behind `python src/<script>.py`.
        script: `train`, `eval`, `report` or `dashboard`.

    Raises:
        UserError: a flag that does not exist, a word that is no option, a choice that is none.
    """
    flags, overrides = _in_order(words)
    roots = _roots(_checked(flags))
    kept: list[str] = []
    for at, word in enumerate(overrides):
        parsed = _parse(word, overrides, at)
        key = parsed.key_or_group
        if script != "train" and (word.startswith("~") or word.startswith("+")):
            raise UserError(
                f"{word}: {program(script)} takes its own options and no others; "
                f"{command(script)} --help lists them."
            )
        if script == "report" and key == "sweep":
            # Hydra would take it for a choice in conf/sweep/
            word = word.replace("sweep", "multirun", 1)
        elif script == "train" and key in _groups(roots):
            if not _check_choice(word, parsed, roots):
                continue
        elif key in _groups(roots) and key not in ("data", "paths"):
            raise UserError(
                f"{program(script)} has no option '{key}'; it is one of {program('train')}."
            )
        kept.append(_as_text(word))
    return [*flags, *kept]


# ---- flags


def _in_order(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return (flags with their values, overrides)."""
    actions = arguments()._option_string_actions
    flags: list[str] = []
    overrides: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            overrides += waiting
            break
        if not word.startswith("-") or word == "-":
            overrides.append(word)
            continue
        name = word.split("=", 1)[0]
        action = actions.get(name)
        if action is None:
            hint = did_you_mean(name, actions) or f"; {command('train')} --help says what there is."
            raise UserError(f"There is no flag '{name}'{hint} Options are typed as key=value.")
        flags.append(word)
        takes_value = action.nargs is None and "=" not in word  # the others take none
        maybe = action.nargs == "?" and waiting and waiting[0] in (action.choices or ())
        if (takes_value or maybe) and waiting:
            flags.append(waiting.pop(0))
    return flags, overrides


def _checked(flags: Sequence[str]) -> Namespace:
    """Return what the flags say, if they go together."""
    parser = arguments()

    def refuse(message: str) -> NoReturn:
        raise UserError(f"The flags cannot be read: {message}.")

    parser.error = refuse  # type: ignore[method-assign]
    read = parser.parse_args(list(flags))
    asked = {
        "--run": read.run, "-m": read.multirun, "--cfg": read.cfg, "--info": read.info,
        "--shell-completion": read.shell_completion,
    }  # fmt: skip
    given = [name for name, value in asked.items() if value]
    if len(given) > 1:
        raise UserError(f"{given[0]} and {given[1]} ask for two things; give one of them.")
    if read.resolve and not read.cfg and not read.help:
        raise UserError("--resolve goes with --cfg job, which prints the config.")
    if read.experimental_rerun:
        raise UserError("--experimental-rerun is not offered; type the command of the run again.")
    if read.config_dir and not Path(read.config_dir).is_dir():
        raise UserError(f"There is no directory {read.config_dir}; check --config-dir.")
    return read


def _roots(read: Namespace) -> list[Path]:
    """Return the directories that hold the groups; none where --config-path names others."""
    if read.config_path:
        return []
    return [*([Path(read.config_dir)] if read.config_dir else []), CONF]


# ---- overrides


def _parsed(word: str) -> Override:
    return _parser().parse_override(word)


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def _parse(word: str, words: Sequence[str], at: int) -> Override:
    """Return Hydra's reading of an override, or say how to type it."""
    if "=" not in word and not word.startswith("~"):
        before = next((w for w in reversed(words[:at]) if "=" in w), "")
        together = " ".join([before, *_without_equals(words[at:])])
        hint = ""
        if _takes_text(before) and (quoted := _quoted(together)):
            hint = f"; if it belongs to the option before it, put that in quotes: {quoted}"
        raise UserError(
            f"An override cannot be read: '{word}'; options are typed as key=value{hint}."
        )
    try:
        parsed = _parsed(word)
    except HydraException as error:
        why = " ".join(str(error).splitlines()[0].split()).rstrip(".")
        quoted = _quoted(word) if _takes_text(word) else None
        hint = f"; put the value in quotes: {quoted}" if quoted else f": {why}"
        raise UserError(f"An override cannot be read: {word}{hint}.") from None
    if not parsed.key_or_group:
        raise UserError(f"An override cannot be read: {word}; options are typed as key=value.")
    if parsed.package is not None:
        raise UserError(
            f"{word} puts a choice elsewhere than where it is read; "
            f"write {parsed.key_or_group}=... without '@{parsed.package}'."
        )
    return parsed


def _without_equals(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        if "=" in word:
            return
        yield word


def _split(word: str) -> tuple[str, str]:
    """Return an override's key without +, ++ or ~, and its value as typed."""
    key, _, value = word.partition("=")
    return key.lstrip("+~"), value


def _takes_text(word: str) -> bool:
    key = _split(word)[0]
    rule = RULES.get(key)
    return key.startswith(("hydra.", "paths.")) or (rule is not None and rule.type is str)


def _quoted(word: str) -> str | None:
    """Return an override with its value, or the values in its list, in quotes; for a shell."""
    key, _, value = word.partition("=")
    if value.startswith("[") and value.endswith("]"):
        items = [item.strip() for item in value[1:-1].split(",")]
        made = f"{key}=[{','.join(_in_quotes(item) for item in items)}]"
    else:
        made = f"{key}={_in_quotes(value)}"
    try:
        _parsed(made)
    except HydraException:
        return None
    return shlex.quote(made)


def _in_quotes(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value
    return '"' + value.replace('"', '\\"') + '"'


def _as_text(word: str) -> str:
    """Put numbers and booleans that a text option is given in quotes: `data.target=2`."""
    key, value = _split(word)
    rule = RULES.get(key)
    if rule is None or rule.type is not str or not value:
        return word
    listed = value.startswith("[") and value.endswith("]") and (rule.each or rule.listable)
    inner = value[1:-1] if listed else value
    if rule.each and not listed:
        return word
    items = [item.strip() for item in inner.split(",")]
    if not any(map(_looks_other, items)):
        return word
    text = ",".join(_in_quotes(item) if _looks_other(item) else item for item in items)
    return f"{word.partition('=')[0]}={f'[{text}]' if listed else text}"


def _looks_other(item: str) -> bool:
    """Whether Hydra takes a piece of text for a number or a truth."""
    try:
        value = _parsed(f"x={item}")._value
    except HydraException:
        return False
    return isinstance(value, (int, float))


# ---- choices


@cache
def _group_names(root: Path) -> frozenset[str]:
    return frozenset(p.name for p in root.iterdir() if p.is_dir() and p.name != "hydra")


def _groups(roots: Sequence[Path]) -> frozenset[str]:
    return frozenset().union(*map(_group_names, roots))


def choices(group: str, roots: Sequence[Path] = (CONF,)) -> list[str]:
    """Return the choices of a group, sorted; `base` of the data is none."""
    found = {
        str(path.relative_to(root / group).with_suffix(""))
        for root in roots
        for path in (root / group).rglob("*.yaml")
    }
    return sorted(found - ({"base"} if group == "data" else set()))


def _check_choice(word: str, parsed: Override, roots: Sequence[Path]) -> bool:
    """Refuse what is no choice of a group; return whether anything is chosen at all."""
    group, value = parsed.key_or_group, parsed._value
    if parsed.is_delete():
        return True
    if value is None and group in OPTIONAL:
        return False
    known = choices(group, roots)
    if isinstance(value, dict):
        raise UserError(
            f"{group} is chosen by a name: {group}={known[0]}, ...; "
            f"what the choice holds is set one by one: {group}.<option>=..."
        )
    if isinstance(value, list) and group not in SEVERAL:
        raise UserError(
            f"{word} does not fit: there is one {group} to a run; "
            f"give one of {', '.join(known)}, or try several with -m {group}=a,b."
        )
    if isinstance(value, (RangeSweep, IntervalSweep)):
        raise UserError(f"{word} does not fit: {group} is one of {', '.join(known)}.")
    if not isinstance(value, Glob):
        for name in _names(value):
            _check_name(group, name, known)
    return True


def _names(value: Any) -> Iterator[Any]:
    """Yield every choice in a value: of a list, of a sweep, of a sweep over lists."""
    if isinstance(value, (ChoiceSweep, list)):
        for item in value.list if isinstance(value, ChoiceSweep) else value:
            yield from _names(item)
    else:
        yield value.text if isinstance(value, QuotedString) else value


def _check_name(group: str, name: Any, known: Sequence[str]) -> None:
    if name in known or (isinstance(name, str) and "${" in name):
        return
    shown = "null" if name is None else str(name)
    if (group, shown.lower()) in CHOICES:
        hint = f"; here it is {CHOICES[group, shown.lower()]}."
    else:
        near = [word for word in known if word.lower() == shown.lower()]
        near += difflib.get_close_matches(shown.lower(), known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "."
    raise UserError(f"{group}={shown} does not exist{hint} conf/{group}/ has {', '.join(known)}.")


# ---- sweeps


def check_sweep(overrides: Sequence[Override]) -> None:
    """Refuse a grid that has no end, before its jobs are made.

    Raises:
        UserError: an interval, or more than 100,000 jobs.
    """
    jobs = 1
    for override in overrides:
        value, typed = override._value, override.input_line
        if isinstance(value, IntervalSweep):
            key = override.key_or_group
            raise UserError(
                f"{typed}: how many values are to be drawn? Add hydra.sweeper.trials=64, or list "
                f"the values ({key}=0.001,0.01,0.1)."
            )
        if isinstance(value, ChoiceSweep):
            jobs *= max(1, len(value.list))
        if isinstance(value, RangeSweep):
            jobs *= max(1, _count(value, str(typed)))
    if jobs > MOST_JOBS:
        raise UserError(
            f"This sweep would have {jobs:,} jobs, more than the {MOST_JOBS:,} that one may have; "
            "give fewer values."
        )


def _count(span: RangeSweep, typed: str) -> int:
    start, stop, step = (float(n or 0) for n in (span.start, span.stop, span.step))
    if step == 0 or not all(map(math.isfinite, (start, stop, step))):
        raise UserError(f"{typed} never ends; give a step other than 0.")
    return math.ceil((stop - start) / step)


def without_float_noise(overrides: Sequence[Override]) -> None:
    """Turn ranges of fractions into the values a user means: 0.3, not 0.30000000000000004."""
    for override in overrides:
        span = override._value
        if isinstance(span, RangeSweep) and isinstance(span.range(), FloatRange):
            values: list[Any] = [float(f"{value:.12g}") for value in span.range()]
            override._value = ChoiceSweep(list=values, shuffle=span.shuffle, tags=span.tags)
            override.value_type = ValueType.CHOICE_SWEEP
