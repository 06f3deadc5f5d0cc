"""Compositions that differ in choices of groups, made from one of Hydra's by changing it in place.

Hydra takes 100 ms and more for a composition. A choice such as `optimizer=adam` decides what stands
below `optimizer`, together with what other files set there, such as an experiment. Where its own
files write nowhere else, the rest of a composition stays what it is, whatever is chosen. Where that
is not so, Hydra composes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from descent.config.hydra_release import Pieces, set_values


@dataclass
class _Start:
    """A composition to change.

    Args:
        cfg: as Hydra composed it, before single values are set; None where it cannot be changed.
        around: by group, what is merged below it in order; None for its choice.
        nodes: by group and choice, what then stands below it.
    """

    cfg: DictConfig | None
    around: dict[str, list[DictConfig | None]]
    nodes: dict[tuple[str, str], DictConfig] = field(default_factory=dict)


class Choices:
    """Composes the jobs of a multirun.

    Args:
        loader: Hydra's config loader.
        master: the multirun's own config.
    """

    def __init__(self, loader: Any, master: DictConfig) -> None:
        self._loader, self._master = loader, master
        self._pieces = Pieces(loader)
        self._usual = not master.hydra.searchpath  # which one override could add to
        self._starts: dict[tuple[str, ...], _Start] = {}

    def compose(self, parsed: Sequence[Override], values: Sequence[Override]) -> DictConfig:
        """Compose one job, as Hydra does; it can be changed by whoever gets it.

        Args:
            parsed: overrides.
            values: those of them that only set a value.
        """
        texts = [str(o.input_line) for o in parsed]
        chosen = {o.key_or_group: str(o.value()) for o in parsed if self._is_choice(o)}
        rest = [o for o in parsed if o not in values and o.key_or_group not in chosen]
        touched = {o.key_or_group.partition(".")[0] for o in rest}
        if not chosen or touched & set(chosen):
            return self._composed(texts)
        key = (*sorted(chosen), *(str(o.input_line) for o in rest))
        if key not in self._starts:
            self._starts[key] = self._start(parsed, values, chosen)
        start = self._starts[key]
        if start.cfg is None:
            return self._composed(texts)
        cfg = copy.deepcopy(start.cfg)
        OmegaConf.copy_cache(from_config=self._master, to_config=cfg)
        with read_write(cfg), open_dict(cfg):
            for group, choice in chosen.items():
                if choice != cfg.hydra.runtime.choices[group]:
                    cfg[group] = self._node(start, group, choice)  # which copies it
            cfg.hydra.runtime.choices.update(chosen)
            cfg.hydra.overrides.task = [str(o.input_line) for o in parsed if not _of_hydra(o)]
        set_values(cfg, list(values))
        return cfg

    def _composed(self, texts: list[str]) -> DictConfig:
        composed: DictConfig = self._loader.load_sweep_config(self._master, texts)
        return composed

    def _start(
        self, parsed: Sequence[Override], values: Sequence[Override], chosen: dict[str, str]
    ) -> _Start:
        texts = [str(o.input_line) for o in parsed if o not in values]
        name = self._master.hydra.job.config_name
        around = self._pieces.around(name, texts, chosen)
        alone = all(None in around.get(group, []) for group in chosen)
        return _Start(self._composed(texts) if alone else None, around)

    def _node(self, start: _Start, group: str, choice: str) -> DictConfig:
        key = group, choice
        if key not in start.nodes:
            whole = OmegaConf.create({})
            for part in start.around[group]:
                whole.merge_with(self._pieces.of(group, choice) if part is None else part)
            start.nodes[key] = whole
        return start.nodes[key]

    def _is_choice(self, override: Override) -> bool:
        """Whether an override chooses what stands below its group alone."""
        plain = not (
            override.is_add() or override.is_force_add() or override.is_delete()
            or override.package is not None or _of_hydra(override)
        )  # fmt: skip
        group, choice = override.key_or_group, override.value()
        if not (self._usual and plain and isinstance(choice, str) and group.isidentifier()):
            return False
        return self._pieces.of(group, choice) is not None


def _of_hydra(override: Override) -> bool:
    return bool(override.is_hydra_override())
