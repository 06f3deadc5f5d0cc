"""The configs of many trials from those of a few."""

from __future__ import annotations

import copy
from typing import Any

from descent.recording.bounded import DamageError, parse_yaml
from descent.runs import Run
from descent.study.trials import Study, Trial, Value


class Configs:
    """The configs of a study's trials, without reading each.

    Options that have a dotted name are set in the config of the first trial that was asked for
    with the same choices of groups, such as `optimizer=adam`.

    Args:
        study: the trials.
    """

    def __init__(self, study: Study) -> None:
        self.groups = [key for key in study.swept if "." not in key]
        self._bases: dict[tuple[Value, ...], dict[str, Any]] = {}

    def of(self, trial: Trial) -> dict[str, Any]:
        """Return a trial's resolved config.

        Raises:
            UserError: the config of the first trial with its groups cannot be read.
        """
        key = tuple(trial.values[group] for group in self.groups)
        if key not in self._bases:
            self._bases[key] = Run(trial.directory).config()
        config = copy.deepcopy(self._bases[key])
        for name, value in trial.values.items():
            if "." in name:
                _put(config, name, _parsed(value) if isinstance(value, str) else value)
        for word in trial.seed.split():
            name, _, luck = word.partition("=")
            _put(config, name, _parsed(luck))
        return config


def _parsed(text: str) -> Any:
    """Return what a typed value means: `[8,8]` a list, `true` a truth, `full` a word."""
    try:
        return parse_yaml(text)
    except DamageError:  # a word of no meaning beyond itself
        return text


def _put(config: dict[str, Any], name: str, value: Any) -> None:
    """Set an option in the place that the config has for it, if it has one."""
    *parents, last = name.split(".")
    node: Any = config
    for parent in parents:
        node = node.get(parent) if isinstance(node, dict) else None
    if isinstance(node, dict):
        whole = isinstance(value, float) and value.is_integer() and type(node.get(last)) is int
        node[last] = int(value) if whole else value
