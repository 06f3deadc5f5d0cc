"""From a multirun's overrides to the resolved config of every job, without composing each.

Hydra takes 50 to 130 ms to compose a job. Jobs whose overrides choose the same groups differ only
in values, and Hydra itself sets values after it has composed; so one composition serves them all.
Those that choose others are made from it, too (`choices.py`).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, flag_override, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from descent.config.check import flatten, plain
from descent.config.keys import check_keys, leave_out
from descent.config.options import is_seed
from descent.errors import UserError
from descent.sweep.choices import Choices

BY_NUMBER = "${hydra.job.num}"
ABSOLUTE = re.compile(r"\$\{\w+(\.\w+)*\}")  # a reference to one option
CONSTANT = "${now:"  # in paths; Hydra keeps the time of a multirun


@dataclass(frozen=True)
class Composed:
    """One job of a multirun.

    Args:
        number: its place in the multirun.
        overrides: as a user would type them.
        config: resolved, plain containers, without Hydra's node.
        directory: where it goes, below the multirun's.
    """

    number: int
    overrides: tuple[str, ...]
    config: dict[str, Any]
    directory: Path


class CompositionError(Exception):
    """A job that Hydra cannot compose; the cause says why."""

    def __init__(self, number: int, overrides: Sequence[str]) -> None:
        super().__init__(f"job {number} ({' '.join(overrides)})")
        self.overrides = tuple(overrides)


@dataclass
class _Base:
    """A composition that serves many jobs.

    Args:
        cfg: as composed; values are set in it job by job.
        unresolved: its plain containers, without Hydra's node.
        references: dotted keys of leaves that refer to others.
    """

    cfg: DictConfig
    unresolved: dict[str, Any]
    references: list[str] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)


class Composer:
    """Composes the jobs of a multirun.

    Args:
        loader: Hydra's config loader.
        master: the multirun's own config.
    """

    def __init__(self, loader: Any, master: DictConfig) -> None:
        self._master, self._choices = master, Choices(loader, master)
        self._bases: dict[tuple[str, ...], _Base] = {}
        self._notes: set[str] = set()  # said once for all jobs
        self._current: _Base | None = None  # whose choices `${hydra:...}` tells
        self._parser = OverridesParser.create(config_loader=loader)
        self._parse = lru_cache(maxsize=None)(self._parser.parse_override)
        self._is_group = lru_cache(maxsize=None)(lambda key: bool(loader.get_group_options(key)))

    def compose(self, jobs: Sequence[Sequence[str]], first: int) -> Iterator[Composed]:
        """Yield every job, numbered from `first`.

        Raises:
            CompositionError: a job cannot be composed; Hydra's own error is its cause.
        """
        for number, overrides in enumerate(jobs, start=first):
            try:
                yield self._job(number, tuple(overrides))
            except (HydraException, OmegaConfBaseException, UserError, ValueError) as error:
                raise CompositionError(number, overrides) from error

    def _job(self, number: int, overrides: tuple[str, ...]) -> Composed:
        parsed = [self._parse(text) for text in overrides]
        values = [o for o in parsed if self._is_value(o)]
        key = tuple(o.key_or_group if self._is_value(o) else o.input_line or "" for o in parsed)
        if self._tells_job(key):
            key = (*key, str(number))
        base = self._bases.get(key)
        if base is None:
            base = self._bases[key] = self._base(number, parsed, values)
        if base is not self._current:
            HydraConfig.instance().set_config(base.cfg)
            self._current = base
        config = self._resolved(base, values, number, parsed)
        typed = tuple(o.input_line or "" for o in parsed if not o.is_hydra_override())
        own = any("hydra.sweep.subdir=" in text for text in key)
        return Composed(number, typed, config, self._directory(base.cfg, number, own))

    def _is_value(self, override: Override) -> bool:
        """Whether an override only sets a value that the config has a place for."""
        plain_change = not (
            override.is_add() or override.is_force_add() or override.is_delete()
            or override.package is not None or override.is_hydra_override()
        )  # fmt: skip
        key = override.key_or_group
        if not plain_change or key.startswith("paths.") or self._is_group(key):
            return False
        # Hydra merges dictionaries and reaches into lists; what tells of the job is each job's own
        into_list = any(part.isdigit() for part in key.split("."))
        told = "${hydra" in str(override.input_line)
        return not (into_list or told or isinstance(override.value(), dict))

    def _tells_job(self, key: tuple[str, ...]) -> bool:
        """Whether something refers to the job's number or name in the form that Hydra caches."""
        subdir = str(self._master.hydra.sweep._get_node("subdir")._value())
        own = any(text.startswith("hydra.sweep.subdir=") for text in key)
        return own or "hydra:job" in subdir or any("hydra:job" in text for text in key)

    def _base(self, number: int, parsed: Sequence[Override], values: Sequence[Override]) -> _Base:
        cfg = self._choices.compose(parsed, values)
        self._number(cfg, number, parsed)
        HydraConfig.instance().set_config(cfg)
        with read_write(cfg), open_dict(cfg), flag_override(cfg, "no_deepcopy_set_nodes", True):
            hydra = cfg.pop("hydra")
            without = copy.deepcopy(cfg)
            cfg.hydra = hydra
        OmegaConf.copy_cache(from_config=cfg, to_config=without)
        check_keys(without)
        plain(without)  # says what is not set, or does not resolve
        unresolved: Any = OmegaConf.to_container(without, resolve=False)
        leaves = dict(flatten(unresolved))
        self._current = _Base(cfg, unresolved, [k for k, v in leaves.items() if _refers(v)])
        return self._current

    def _resolved(
        self, base: _Base, values: Sequence[Override], number: int, parsed: Sequence[Override]
    ) -> dict[str, Any]:
        cfg = base.cfg
        if not self._by_number:
            self._number(cfg, number, parsed)
        config = copy.deepcopy(base.unresolved)
        references = dict.fromkeys(base.references)
        for override in values:
            name, value = override.key_or_group, override.value()
            OmegaConf.update(cfg, name, value, merge=True)
            found = _plain(value)
            _put(config, name, found)
            references |= {k: None for k, v in flatten({name: found}) if _refers(v)}
        for name in references:
            _put(config, name, self._follow(base, config, name))
        for note in leave_out(config, base.cfg.hydra.runtime.choices):
            if note not in self._notes:
                self._notes.add(note)
                print(f"note      {note}", flush=True)
        return config

    def _follow(self, base: _Base, config: Mapping[str, Any], name: str) -> Any:
        """Return what a reference leads to; those to one option are followed without OmegaConf."""
        value = _get(config, name)
        if not _refers(value):
            return value  # the end of another reference, put there before
        if isinstance(value, str) and ABSOLUTE.fullmatch(value):
            with suppress(KeyError, TypeError):  # OmegaConf then says what is wrong with it
                return self._follow(base, config, value[2:-1])
        if isinstance(value, str) and CONSTANT in value and name.startswith("paths."):
            if name not in base.constants:
                base.constants[name] = OmegaConf.select(base.cfg, name)
            return base.constants[name]
        return _plain(OmegaConf.select(base.cfg, name))

    @cached_property
    def _by_number(self) -> bool:
        """Whether directories are named by the job's number alone."""
        return bool(self._master.hydra.sweep._get_node("subdir")._value() == BY_NUMBER)

    def _number(self, cfg: DictConfig, number: int, parsed: Sequence[Override]) -> None:
        with read_write(cfg.hydra), open_dict(cfg.hydra):
            cfg.hydra.job.id, cfg.hydra.job.num = str(number), number
            if parsed:
                naming = cfg.hydra.job.config.override_dirname
                lines = sorted(
                    o.input_line or ""
                    for o in parsed
                    if not o.is_hydra_override() and o.key_or_group not in naming.exclude_keys
                )
                named = naming.item_sep.join(lines).replace("=", naming.kv_sep)
                cfg.hydra.job.override_dirname = named

    def _directory(self, cfg: DictConfig, number: int, own: bool) -> Path:
        if self._by_number and not own:
            return Path(str(number))
        return Path(str(OmegaConf.select(cfg, "hydra.sweep.subdir")))


def wanted(
    only: Any, overrides: Sequence[Override], jobs: Sequence[Sequence[str]]
) -> set[tuple[str, ...]]:
    """Return the jobs whose values are among some combinations.

    Args:
        only: of `GridSweeperConf`.
        overrides: of the multirun, in their order.
        jobs: all combinations.

    Raises:
        UserError: `only` is no list of lists, or has a combination that no job has.
    """
    names = [str(o.input_line).partition("=")[0] for o in overrides if o.is_sweep_override()]
    keys = [name for name in names if not is_seed(name)]
    rows: Any = OmegaConf.to_container(only) if OmegaConf.is_config(only) else only
    whole = isinstance(rows, list) and all(isinstance(row, list) for row in rows)
    if not whole or any(len(row) != len(keys) for row in rows):
        raise UserError(
            f"hydra.sweeper.only={rows} does not fit: it must be a list of lists, each with a "
            f"value of {', '.join(keys) or 'an option that is given several values'}."
        )
    left = {tuple(map(_alike, row)) for row in rows}
    missing, kept = set(left), set()
    for job in jobs:
        values = dict(word.split("=", 1) for word in job)
        row = tuple(_alike(values[key]) for key in keys)
        if row in left:
            kept.add(tuple(job))
            missing.discard(row)
    if missing:
        named = ",".join(min(missing))
        raise UserError(
            f"hydra.sweeper.only has [{named}], which is no combination of the values given."
        )
    return kept


def _alike(value: Any) -> str:
    """Return a value as any other way to type it is told: 0.10 and 1e-1 as 0.1."""
    text = {None: "null", True: "true", False: "false"}.get(value) if _plainest(value) else None
    text = text or str(value)
    try:
        return f"{float(text):.12g}"
    except ValueError:
        return re.sub(r"[\s'\"]", "", text)


def _plainest(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _refers(value: Any) -> bool:
    if isinstance(value, (list, dict)):
        return any(map(_refers, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and "${" in value


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _get(config: Mapping[str, Any], name: str) -> Any:
    node: Any = config
    for part in name.split("."):
        node = node[_key(node, part)]
    return node


def _key(node: Mapping[Any, Any], part: str) -> Any:
    """Return a part of a dotted key as the node has it: keys may be numbers."""
    return int(part) if part not in node and part.isdigit() else part


def _put(config: dict[str, Any], name: str, value: Any) -> None:
    *parents, last = name.split(".")
    node = config
    for parent in parents:
        node = node[_key(node, parent)]
    node[_key(node, last)] = value
