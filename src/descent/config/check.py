"""The config: what each option may hold, and the one way to turn a node into an object.

`check` runs before torch is imported, so that a mistyped option answers at once. `build` takes
values as they are, and resolves nothing. Configs read back from a run directory pass
`check_targets` first, so that a run directory from somebody else cannot call whatever it likes.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    InterpolationToMissingValueError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from descent.config import trusted
from descent.config.located import locate
from descent.config.options import FAMILIES, NAMES, REQUIRED, RULES, Rule
from descent.config.vocabulary import VALUES
from descent.errors import ForeignError, UserError, did_you_mean, first_line
from descent.files.bounded import REFERENCE, shown
from descent.metrics import METRICS, own_nodes, take_own
from descent.metrics import NAMES as METRIC_NAMES
from descent.models.landscapes import LANDSCAPES, landscape_named

log = logging.getLogger(__name__)


def flatten(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for every leaf of a plain container; lists count as leaves."""
    if isinstance(node, Mapping) and (node or not prefix):
        for key, value in node.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return the config as resolved plain containers.

    Raises:
        UserError: an option that is not set, or an interpolation that cannot be resolved.
    """
    try:
        values: dict[str, Any] = OmegaConf.to_container(  # type: ignore[assignment]
            cfg, resolve=True, throw_on_missing=True
        )
        return values
    except (MissingMandatoryValue, InterpolationToMissingValueError) as error:
        at = str(error).splitlines()[0].rsplit(": ", 1)[-1]  # what an interpolation points at
        key = error.full_key if isinstance(error, MissingMandatoryValue) else at
        raise UserError(f"{key} is not set; give it on the command line: {key}=...") from error
    except OmegaConfBaseException as error:
        if "'landscape." in str(error):
            raise UserError(
                "model=point and data=landscape need a landscape to walk on: add "
                f"landscape=..., one of {', '.join(LANDSCAPES)}."
            ) from error
        raise UserError(
            f"The config does not fit together: {str(error).splitlines()[0]}."
        ) from error


def check(cfg: DictConfig) -> None:
    """Check every option that has a rule, and what options ask for together.

    Raises:
        UserError: the first option that is not set, of the wrong type or out of range.
    """
    check_values(plain(cfg))


def check_values(config: Mapping[str, Any]) -> None:
    """Check a config that is resolved already; see `check`."""
    values = dict(flatten(config))
    trains = "run" not in config or "optimizer" in config  # eval and report name runs alone
    if trains:
        _check_complete(config)
        _check_references(config)
        _check_nodes(config)
    for key, value in values.items():
        rule = _rule_for(key, values)
        problem = rule.problem(value) if rule else _problem_above(key)
        if problem:
            raise UserError(_unfit(key, value, problem))
    if trains:
        _check_together(values)
        take_own(config)


def _unfit(key: str, value: Any, problem: str) -> str:
    hint = "."
    if (key, as_typed(value)) in VALUES:
        hint = VALUES[key, as_typed(value)]
    elif isinstance(value, str) and key in RULES:
        words = [word for word in RULES[key].words if isinstance(word, str)]
        near = [word for word in words if value and word.startswith(value.lower())]
        hint = f"; did you mean '{near[0]}'?" if near else did_you_mean(value, words) or "."
    shown = as_typed(value) or "''"
    return f"{NAMES.get(key, key)}={shown} does not fit: it must be {problem}{hint}"


def _problem_above(key: str) -> str | None:
    """Return what an option must be that was given options of its own: `optimizer.lr={a:1}`."""
    while "." in key:
        key = key.rpartition(".")[0]
        if key in RULES:
            return f"left out, since {key} holds {RULES[key].words_for()}"
    return None


# Where the config says how something is built: one thing each, and those that hold one by name.
BUILT = ("model", "optimizer", "scheduler", "trainer", "data.source", "loss", "learner")
OPTIONAL_NODES = ("loss", "learner")  # none is the usual: runs of before had none
BUILT_BY_NAME = ("callbacks", "logger", "metrics")


def _check_nodes(config: Mapping[str, Any]) -> None:
    """Refuse what does not say how it is built."""
    for key in BUILT:
        if key in OPTIONAL_NODES and config.get(key) is None:
            continue
        node: Any = config
        for part in key.split("."):
            node = node[part]
        _check_node(key, node)
    for group in BUILT_BY_NAME:
        nodes = config.get(group)  # runs of before had no metrics
        if nodes is not None and not isinstance(nodes, Mapping):
            raise UserError(
                f"{group}={as_typed(nodes)} does not fit: {group} are options by name, each with a "
                f"_target_ that says how it is built, such as +{group}.mine._target_=..."
            )
        for name, node in (nodes or {}).items():
            if node is not None and (group, name) != ("metrics", METRIC_NAMES):
                _check_node(f"{group}.{name}", node)
    for name in own_nodes(config):
        if name in METRICS:
            raise UserError(
                f"metrics.{name} is the name of a metric that is there already; give yours another."
            )
        if not name.isidentifier():
            raise UserError(f"metrics.{name} is no name: letters, digits and _ make one.")


def _check_node(key: str, node: Any) -> None:
    if not isinstance(node, Mapping):
        raise UserError(
            f"{key}={as_typed(node)} does not fit: it must be options with a _target_ that says "
            "how it is built."
        )
    if "_target_" not in node:
        raise UserError(
            f"{key} has no _target_, so it says of nothing how to be built; "
            f"add +{key}._target_=..., or leave it out."
        )
    target = node["_target_"]
    if not isinstance(target, str) or not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", target):
        raise UserError(
            f"{key}._target_={as_typed(target)} does not fit: it must be the name of a class or a "
            "function with its module, such as my_package.Mine."
        )


def _check_complete(config: Mapping[str, Any]) -> None:
    for key in REQUIRED:
        node: Any = config
        for part in key.split("."):
            if not isinstance(node, Mapping) or part not in node:
                raise UserError(f"{key} is missing from the config; put it back (see conf/).")
            node = node[part]


def _check_references(node: Any, where: str = "") -> None:
    """Refuse texts that a reader of the run's config would take for references."""
    if isinstance(node, str) and REFERENCE in node:
        raise UserError(
            f"{where}={node} holds '{REFERENCE}', which stands for a reference to another option "
            "in the config that the run keeps; choose another text, or rename the file."
        )
    if isinstance(node, Mapping):
        for key, value in node.items():
            if where or key not in NOT_KEPT:
                _check_references(key, f"the name {where}.{key}")
                _check_references(value, f"{where}.{key}" if where else str(key))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            _check_references(value, f"{where}[{i}]")


NOT_KEPT = ("resume", "sweep_dir")  # where a run lies; a new one's own config holds null


def settle_paths(config: Mapping[str, Any]) -> None:
    """Make the paths of the data absolute, in place, so that the run can be read from anywhere.

    Raises:
        UserError: the run's config could not keep one of them.
    """
    for where, node in (("data", config["data"]), ("data.source", config["data"]["source"] or {})):
        if node.get("path"):
            node["path"] = os.path.abspath(node["path"])  # noqa: PTH100 - a link stays one
            _check_references(node["path"], f"{where}.path")


def _rule_for(key: str, values: Mapping[str, Any]) -> Rule | None:
    group = key.split(".", 1)[0]
    target = str(values.get(f"{group}._target_", "descent."))
    foreign = not target.startswith(("descent.", "torch.optim.", "lightning."))
    if foreign and key != "optimizer.lr":
        return None
    return FAMILIES.get(group) or RULES.get(key)


def _check_together(values: Mapping[str, Any]) -> None:
    if values.get("stop.epochs") is None and values.get("stop.steps") is None:
        raise UserError(
            "Nothing would end this run: give stop.epochs, stop.steps or both a number."
        )
    kept = values.get("data.val_fraction", 0) + values.get("data.test_fraction", 0)
    if kept >= 1:
        raise UserError(
            f"data.val_fraction and data.test_fraction add up to {kept:g} and leave no training "
            "rows; their sum must be below 1."
        )
    batch, order = values.get("data.batch_size"), values.get("data.order")
    if batch == "full" and order == "with_replacement":
        raise UserError(
            "data.batch_size=full means every row once, data.order=with_replacement does not; "
            "give a number for batch_size, or another order."
        )
    _check_landscape(values)


def _check_landscape(values: Mapping[str, Any]) -> None:
    """Refuse half a landscape, a start outside it, and what would distort its noise."""
    point = values.get("model._target_") == "descent.models.point.Point"
    ground = values.get("data.source._target_") == "descent.data.landscape.landscape"
    if point != ground:
        has, lacks = "model=point", "data=landscape"
        if ground:
            has, lacks = lacks, has
        raise UserError(f"{has} goes with {lacks} only; add {lacks}, or choose another for both.")
    if not point:
        return
    names = [values[key] for key in ("landscape.name", "data.source.name", "model.landscape")]
    if len(set(names)) > 1:
        raise UserError(
            f"Model, data and landscape are not of one landscape ({', '.join(names)}); "
            "set landscape=... alone."
        )
    landscape_named(names[0]).check_start(tuple(values["model.start"]))
    fractions = (("val_fraction", 0), ("test_fraction", 0))
    for key, wanted in (*fractions, ("scale", "none"), ("scale_target", "none")):
        if values[f"data.{key}"] != wanted:
            raise UserError(
                f"data.{key}={values[f'data.{key}']} does not suit a landscape, whose rows are "
                f"only noise; leave it at {wanted}."
            )


def as_typed(value: Any) -> str:
    """Return a value as it is typed behind an option's name."""
    if isinstance(value, list):
        return f"[{','.join(map(as_typed, value))}]"
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else f"{value}"
    )


def targets(node: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted key, target) for every `_target_` anywhere in a plain container."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            where = f"{prefix}.{key}" if prefix else str(key)
            if key == "_target_":
                yield where, str(value)
            else:
                yield from targets(value, where)
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for i, value in enumerate(node):
            yield from targets(value, f"{prefix}[{i}]")


def check_targets(node: Any, source: str, trust: Sequence[str] = ()) -> None:
    """Refuse a config from disk that would build what is not listed for its place; see `trusted`.

    What is listed is known by name, without importing anything. What a trusted package adds must
    also be defined in it, so that `mine.os.system` is no way round; a line says what was added.

    Args:
        node: the config as plain containers, or some of its groups.
        source: where it came from, for the sentence.
        trust: packages the user adds by hand.

    Raises:
        UserError: a target, an argument or a word of Hydra's that may not stand where it does.
    """
    if added := _added(node, source, trust):
        _tell_added(source, tuple(added))


class UntrustedError(UserError):
    """What a config from disk asks for and may not.

    Args:
        fault: what that is, without a full stop.
        package: to trust, if one does.
    """

    def __init__(self, fault: str, package: str | None = None) -> None:
        self.fault = fault
        way = f"; if you trust it, add trust=[{package}]" if package else ""
        super().__init__(f"{fault}{way}.")


def not_run(
    config: Mapping[str, Any], source: str, trust: Sequence[str] = ()
) -> UntrustedError | None:
    """Return what `check_targets` refuses in a config of which nothing is built."""
    try:
        _added(config, source, trust)
    except UntrustedError as error:
        return error
    return None


def _added(node: Any, source: str, trust: Sequence[str]) -> list[str]:
    """Return what the trusted packages add; refuse as `check_targets` does."""
    listed, added = [], []
    for where, inner in _special_nodes(node):
        key = "_target_" if "_target_" in inner else sorted(inner.keys() & {*SPECIAL})[0]
        target = shown(inner[key])
        if _of(target, trust) and _of(_defined_as(target, f"{where}.{key}"), trust):
            added.append(f"{target} ({where})")
        elif key == "_target_" and _is_listed(target, where):
            listed.append((where, inner))
        else:
            package = target.split(".")[0]
            ours = package in ("descent", "torch", "lightning")
            raise UntrustedError(
                f"{source} asks to run '{target}' ({where}.{key}), which is not among the "
                f"{'names that may stand there' if ours else 'trusted packages'}",
                package,
            )
    for where, inner in listed:
        _check_listed(inner, where, source)
    return added


def _defined_as(target: str, where: str) -> str:
    found = locate(target, where)
    return f"{found.__module__}.{getattr(found, '__qualname__', '')}"


def _of(target: str, packages: Sequence[str]) -> bool:
    return target.startswith(tuple(f"{name.rstrip('.')}." for name in packages))


def _special_nodes(node: Any, where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (dotted key, node) for every node that says how it is to be built."""
    if isinstance(node, Mapping):
        if node.keys() & {*SPECIAL}:
            yield where, node
        for key, value in node.items():
            yield from _special_nodes(value, f"{where}.{key}" if where else str(key))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from _special_nodes(value, f"{where}[{i}]")


def _is_listed(target: str, where: str) -> bool:
    names, _ = trusted.names_at(where)
    name = trusted.offered_as(target)
    if name == target or name not in names:
        return target in names
    return locate(target, f"{where}._target_") is locate(name, f"{where}._target_")


def _check_listed(node: Mapping[str, Any], where: str, source: str) -> None:
    """Refuse arguments that are not listed for a target, and names that lead elsewhere."""
    names, words = trusted.names_at(where)
    target = trusted.offered_as(str(node["_target_"]))
    package = target.split(".")[0]
    known = names[target] | words | trusted.BESIDE.get(where, frozenset()) | {"_target_"}
    offline = "offline" not in known or node.get("offline") is True
    if not offline or node.get("tracking_uri") is not None:
        which = f"{where}.tracking_uri is given" if offline else f"{where}.offline is not true"
        raise UntrustedError(
            f"{source} would send figures over the network in your name ({which})", package
        )
    for key, value in node.items():
        if key not in known:
            raise UntrustedError(
                f"{source} gives {target} '{shown(key)}' ({where}.{shown(key)}), which a run's own "
                "config may not set",
                package,
            )
        names_a_file = key in trusted.FILE_NAMES and where.startswith(WRITERS)
        if names_a_file and not trusted.is_file_name(value):
            raise UntrustedError(
                f"{source} gives {target} the {key} '{shown(value)}' ({where}.{key}), which leads "
                "out of the run's directory"
            )


WRITERS = ("callbacks.", "logger.", "trainer.")  # places of what writes files


@functools.cache
def _tell_added(source: str, added: tuple[str, ...]) -> None:
    log.info("trust lets %s run %s", source, ", ".join(added))


def build(node: Any, where: str, *, offer: Mapping[str, Any] | None = None, **given: Any) -> Any:
    """Turn a node with a `_target_` into the object it describes, and the nodes in it before it.

    Values are taken as they are: nothing is resolved here, as Hydra's own instantiate would once
    more, so that a text from a disk stays a text.

    Args:
        node: the config node; `_partial_: true` gives a callable that still takes arguments,
            `_args_` are given by position, `_recursive_: false` leaves the nodes in it alone.
        where: its key in the config, for error sentences.
        offer: arguments passed only if the target accepts them by name.
        **given: arguments passed as they are.

    Raises:
        UserError: an unknown target, an argument it does not take, or one it lacks.
    """
    options = dict(plain(node) if isinstance(node, DictConfig) else node)
    target = locate(str(options.get("_target_")), f"{where}._target_")
    special = {key: options.pop(key) for key in list(options) if key in SPECIAL}
    _check_special(special, where)
    parameters = _parameters(target)
    keywords = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    offered = {k: v for k, v in (offer or {}).items() if k in parameters and k not in options}
    given = {**offered, **given}
    partial = bool(special.get("_partial_", False))
    asked = {**options, **special}
    _check_arguments(target, parameters, asked, where, set(given), keywords, partial)
    if special.get("_recursive_", True):
        options = {key: _built(value, f"{where}.{key}") for key, value in options.items()}
    positional = _built(special.get("_args_", []), f"{where}._args_")
    made = functools.partial(target, *positional, **options)
    try:  # what arguments by position and by name give twice
        inspect.signature(target).bind_partial(*positional, **options, **given)
    except TypeError as error:
        raise UserError(f"{where}: {asked['_target_']} refuses: {first_line(error)}.") from None
    except ValueError:  # a builtin takes what it takes
        pass
    if partial:
        return functools.partial(made, **given)
    try:
        return made(**given)
    except UserError:
        raise
    except Exception as error:
        if str(getattr(target, "__module__", "")).startswith("descent."):
            raise
        raise ForeignError(_not_made(where, asked["_target_"], error)) from error


def _not_made(where: str, target: str, error: Exception) -> str:
    """Say that code which is not ours could not make something."""
    # a key, and not a sentence, is all that a KeyError has
    why = f"{type(error).__name__}: " if isinstance(error, (KeyError, AttributeError)) else ""
    lacks = ", for want of a package" if isinstance(error, ImportError) else ""
    return f"{where} ({target}) cannot be made{lacks}: {why}{first_line(error)}."


# What Hydra lets a node say about itself.
SPECIAL = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_")


def _check_special(special: Mapping[str, Any], where: str) -> None:
    kinds = {"_partial_": bool, "_recursive_": bool, "_args_": list}
    for key, kind in kinds.items():
        if key in special and not isinstance(special[key], kind):
            what = "a list" if kind is list else "true or false"
            raise UserError(f"{where}.{key} does not fit: it must be {what}.")
    if special.get("_convert_", "all") != "all":
        raise UserError(
            f"{where}._convert_={special['_convert_']} has no effect: every target gets plain "
            "lists and mappings; leave it out."
        )


def _built(value: Any, where: str) -> Any:
    """Return a value with the nodes in it turned into their objects, innermost first."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            return build(value, where)
        return {key: _built(inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [_built(inner, f"{where}[{i}]") for i, inner in enumerate(value)]
    return value


def _parameters(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):  # of a builtin: it takes what it takes
        rest = inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD)
        return {"options": rest}


def _check_arguments(
    target: Callable[..., Any],
    parameters: Mapping[str, inspect.Parameter],
    options: Mapping[str, Any],
    where: str,
    given: set[str],
    keywords: bool,
    partial: bool,
) -> None:
    names = [k for k in options if not (k.startswith("_") and k.endswith("_"))]
    known = [p.name for p in parameters.values() if p.kind is not p.POSITIONAL_ONLY]
    unknown = [] if keywords else [k for k in names if k not in known]
    if unknown:
        hint = did_you_mean(unknown[0], known) or f"; it takes {', '.join(known)}."
        raise UserError(f"{where}.{unknown[0]} is no argument of {options['_target_']}{hint}")
    if partial:
        return
    lacking = [
        p.name
        for p in parameters.values()
        if p.default is p.empty
        and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and p.name not in given
        and p.name not in names
    ]
    if lacking and "_args_" not in options:
        raise UserError(
            f"{where} lacks '{lacking[0]}', which {options['_target_']} needs: "
            f"+{where}.{lacking[0]}=..."
        )
