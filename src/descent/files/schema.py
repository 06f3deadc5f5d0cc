"""The types of fields, as files hold them: checks to build from, and the sentence where one fails.

Plain values in, `DamageError` with the field's name out. Fields that nobody reads may be anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from descent.files.bounded import DamageError, shown

MOST_COUNT = 2**53  # steps, epochs, samples, rows: whole numbers that JSON keeps
NOT_FINITE = ("nan", "inf", "-inf")  # as `Run.write_result` writes such numbers

Check = Callable[[Any], bool]


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_count(value: Any) -> bool:
    """Whether this is a whole number from 0."""
    return type(value) is int and 0 <= value <= MOST_COUNT


def is_finite(value: Any) -> bool:
    """Whether this is a finite number."""
    return type(value) in (int, float) and abs(value) < 1e308 and math.isfinite(value)


def is_number(value: Any) -> bool:
    """Whether this is a number, or the text that stands for one that is not finite."""
    return is_finite(value) or value in NOT_FINITE


def each(check: Check) -> Check:
    """Return a check of every item of a list."""
    return lambda value: isinstance(value, list) and all(map(check, value))


def every(check: Check) -> Check:
    """Return a check of every value of a mapping with texts for keys."""
    return lambda value: (
        isinstance(value, dict) and all(isinstance(k, str) and check(v) for k, v in value.items())
    )


def maybe(check: Check) -> Check:
    """Return a check that null passes too."""
    return lambda value: value is None or check(value)


TEXT = (is_text, "a text")
COUNT = (is_count, "a whole number from 0")
NUMBER = (is_number, "a number")
METRICS = (maybe(every(maybe(is_number))), "numbers by name")


def check_fields(values: Any, fields: Mapping[str, tuple[Check, str]], where: str = "") -> None:
    """Check the fields that are there.

    Raises:
        DamageError: the values are no mapping, or which field is not what it must be.
    """
    if not isinstance(values, dict):
        raise DamageError(f"{where or 'it'} is no mapping")
    for name, (fits, what) in fields.items():
        if name in values and not fits(values[name]):
            raise DamageError(f"'{where}{name}' is {told(values[name])}, not {what}")


def told(value: Any) -> str:
    """Return what a value is, for a sentence about it."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"a list of {len(value):,}"
    return "null" if value is None else f"'{shown(value)}'"
