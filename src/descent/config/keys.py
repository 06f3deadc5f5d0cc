"""Which keys of a config somebody reads.

An option is read if it has a rule, if it is an argument of the target of its node, or if another
option refers to it; anything else would be accepted and have no effect. Where a `_target_` was put
in the place of a choice's own, the options of that choice go with it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

from descent.config.check import BUILT, BUILT_BY_NAME, flatten
from descent.config.located import locate
from descent.config.options import FAMILIES, RULES
from descent.config.spelling import CONF
from descent.config.typed import choices
from descent.config.vocabulary import TRAINER, replacement
from descent.errors import UserError, did_you_mean

# Options that only pass a value on: nobody reads them where nothing refers to them.
PASSED_ON = {
    "base_lr": "sweep=lr_batch or sweep=lr_scaling",
    "lr_scaling": "sweep=lr_batch or sweep=lr_scaling",
    "reference_batch": "sweep=lr_batch or sweep=lr_scaling",
    "landscape.name": "model=point data=landscape",
    "landscape.start": "model=point data=landscape",
}
# Options of eval.yaml, report.yaml and dashboard.yaml.
AFTER_TRAINING = (
    *("run", "checkpoint", "predict", "overwrite", "accelerator", "multirun", "x", "measure"),
    *("target", "output", "best", "choose", "most", "port", "format"),
)


def check_keys(cfg: DictConfig) -> None:
    """Refuse options that nobody would read.

    Args:
        cfg: a training config without Hydra's node, its references not yet resolved.

    Raises:
        UserError: naming the first, and what would do what it may have meant.
    """
    values = dict(flatten(OmegaConf.to_container(cfg, resolve=False)))
    read = {name for value in values.values() for name in _references(value)}
    # a node that only passes on is read as a whole: which of its values is may be what is swept
    read |= {name.split(".")[0] for name in read if name.split(".")[0] not in _roots()}
    table = values.get("data.source._target_") == "descent.data.table.table"
    for key in values:
        if any(key == r or key.startswith(f"{r}.") or r.startswith(f"{key}.") for r in read):
            continue
        if key in PASSED_ON or key.split(".")[0] in FAMILIES or (_of_table(key) and not table):
            raise UserError(_overruled(key, values))
        if key.startswith("trainer.") and key.removeprefix("trainer.") in TRAINER:
            words = TRAINER[key.removeprefix("trainer.")]
            raise UserError(f"{key} has no effect on windows; {words}.")
        if key in AFTER_TRAINING or not (key in RULES or _in_node(key, values)):
            raise UserError(_unread(key))


def _of_table(key: str) -> bool:
    """Whether an option of the data is one that only a table's source reads."""
    source = key.startswith("data.source")
    return key.startswith("data.") and key in RULES and not source and key not in _every_source()


@cache
def _roots() -> frozenset[str]:
    """Return the first words of options that somebody reads, beyond what refers to them."""
    return frozenset(key.split(".")[0] for key in RULES.keys() - PASSED_ON.keys()) | _places()


@cache
def _every_source() -> frozenset[str]:
    """Return the options that every source's data have."""
    base = OmegaConf.to_container(OmegaConf.load(CONF / "data" / "base.yaml"), resolve=False)
    return frozenset(key for key, _ in flatten({"data": base}))


def _references(value: Any) -> Iterator[str]:
    """Yield the names that a value refers to: `data.path` of `${data.path}`."""
    if isinstance(value, str) and "${" in value:
        # `${tuned.${optimizer}}` may refer to any of them
        yield from (name.strip(".") for name in re.findall(r"[\w.]+", value))
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def _in_node(key: str, values: Mapping[str, Any]) -> bool:
    """Whether a key belongs to a node with a target: its arguments are checked when it is made."""
    parts = key.split(".")
    if key in BUILT or parts[0] in BUILT_BY_NAME:  # as a whole: none, or by name
        return True
    nodes = [".".join(parts[:i]) for i in range(1, len(parts))]
    return any(f"{node}._target_" in values and node in _places() for node in nodes)


@cache
def _places() -> frozenset[str]:
    """Return the nodes that are made into something: each group's, and the data's source."""
    groups = (path.name for path in CONF.iterdir() if path.is_dir())
    return frozenset(BUILT) | frozenset(groups) - {"data", "paths", "hydra", "landscape"}


def _unread(key: str) -> str:
    known = [option for option in RULES if option not in AFTER_TRAINING]
    instead = replacement(key) or did_you_mean(key, known).removeprefix("; ") or "leave it out."
    return f"Nothing reads {key}, so it would have no effect; {instead}"


def _overruled(key: str, values: Mapping[str, Any]) -> str:
    if key in ("base_lr", "lr_scaling", "reference_batch") and "base_lr" in values:
        lr = values.get("optimizer.lr")
        return (
            f"{key} has no effect: optimizer.lr={lr} overrules it; leave optimizer.lr out, or "
            "the sweep over base_lr."
        )
    where = "data=table" if _of_table(key) else PASSED_ON.get(key, "an option that refers to it")
    return f"{key} has no effect here: it goes with {where}."


# ---- a target in the place of a choice's own


def leave_out(config: dict[str, Any], chosen: Mapping[str, Any]) -> list[str]:
    """Take out, in place, the options of a choice that the target put in its place does not take.

    Args:
        config: resolved, plain containers.
        chosen: the choice of each group.

    Returns:
        What was left out, in sentences; nothing where the choices have their own targets.
    """
    notes = []
    for group in ("model", "optimizer", "scheduler", "data"):
        known = _choice(group, str(chosen.get(group)))
        node = config.get(group)
        if group == "data":
            node = (node or {}).get("source")
        if not known or not isinstance(node, dict) or node.get("_target_") == known["_target_"]:
            continue
        key = "data.source" if group == "data" else group
        taken = _taken(str(node["_target_"]), f"{key}._target_")
        left = [
            name
            for name, value in known.items()
            if name in node and name not in taken and _as_chosen(node[name], value)
        ]
        for name in left:
            del node[name]
        if left:
            notes.append(
                f"{key}: {', '.join(left)} of {group}={chosen[group]} left out, which "
                f"{node['_target_']} does not take"
            )
    return notes


# What a schedule's node holds beside the arguments of its target.
OURS = ("_target_", "_partial_", "interval", "monitor")


@cache
def _choice(group: str, name: str) -> dict[str, Any]:
    """Return the node that a choice of ours holds; empty for one of the user's own."""
    if name not in choices(group):
        return {}
    node: Any = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))
    node = node.get("source") if group == "data" else node
    return node if isinstance(node, dict) and "_target_" in node else {}


def _taken(target: str, where: str) -> set[str]:
    """Return the arguments that a target takes by name."""
    try:
        parameters = inspect.signature(locate(target, where)).parameters
    except (TypeError, ValueError):  # of a builtin
        return set(OURS)
    return {*OURS, *parameters}


def _as_chosen(value: Any, default: Any) -> bool:
    """Whether a value is the choice's own, and not typed."""
    return value == default or (isinstance(default, str) and "${" in default)
