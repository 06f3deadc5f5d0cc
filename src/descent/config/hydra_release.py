"""What depends on Hydra's release: on 1.3, which is required, and 1.4, of which there are rc's.

No other file imports from `hydra._internal` or names a `version_base`: a test holds it.

| | 1.3 | 1.4 |
|---|---|---|
| defaults | as of the `version_base` that one names | its own; naming one is deprecated |
| what Hydra may build | anything but a list of known dangers | what Python code allows |
| plugins | modules below `hydra_plugins` | those, and entry points of `hydra.plugins` |
| Python 3.14 | its flags cannot be made: a help text is no text | yes |
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hydra
from hydra import version
from hydra._internal import utils
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

RELEASE = tuple(int(part) for part in re.findall(r"\d+", hydra.__version__)[:2])
NAMES_ITS_BASE = RELEASE < (1, 4)
BASE: dict[str, Any] = {"version_base": "1.3"} if NAMES_ITS_BASE else {}
# what Hydra itself builds of a config: its plugins, callbacks and logs; our own nodes never go
# through it, but through `config/check.py`
BUILT = ("descent.*", "hydra.*", "hydra_plugins.*", "logging.*", "optuna.samplers.*")
POLICY: dict[str, Any] = {} if NAMES_ITS_BASE else {"execution_whitelist": BUILT}
PLUGINS = "hydra.plugins"  # the group of entry points
LAUNCHER = "hydra_plugins.descent_stack.launcher.StackLauncher"
SWEEPER = "hydra_plugins.descent_stack.sweeper.GridSweeper"
ABOUT_PLUGINS = ("hydra/launcher", "hydra/sweeper")

stock_arguments = utils.get_args_parser
stock_options = ConfigLoaderImpl.get_group_options
stock_load = ConfigLoaderImpl.load_configuration


class _Parser(argparse.ArgumentParser):
    """Takes a help text that is no text, as Hydra 1.3 gives one; Python 3.14 looks into it."""

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        text = options.get("help")
        if text is None or isinstance(text, str):
            return super().add_argument(*names, **options)
        action = super().add_argument(*names, **{**options, "help": None})
        action.help = text
        return action


def arguments() -> argparse.ArgumentParser:
    """Return Hydra's flags, on every Python."""
    lenient = SimpleNamespace(**{**vars(argparse), "ArgumentParser": _Parser})
    with _replaced(utils, "argparse", lenient):
        return stock_arguments()


@contextmanager
def _replaced(where: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(where, name)
    setattr(where, name, value)
    try:
        yield
    finally:
        setattr(where, name, before)


def entry_point(name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], Any]]:
    """Return `hydra.main` for a script beside `conf/`.

    Args:
        name: of its config.
    """

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[[], Any]:
        main = hydra.main(config_path="../conf", config_name=name, **BASE, **POLICY)(task)

        @functools.wraps(task)
        def run() -> Any:
            register_plugins(sys.argv[1:])
            once = ComposedOnce() if NAMES_ITS_BASE else None

            def load(loader: ConfigLoaderImpl, *given: Any, **named: Any) -> DictConfig:
                return (once.load if once else stock_load)(loader, *given, **named)

            with (
                _replaced(ConfigLoaderImpl, "load_configuration", load),
                _replaced(sys.modules["hydra.main"], "get_args_parser", arguments),
                _replaced(ConfigLoaderImpl, "get_group_options", group_options),
            ):
                return main()

        return run

    return decorate


def group_options(
    loader: ConfigLoaderImpl,
    group_name: str,
    results_filter: ObjectType | None = ObjectType.CONFIG,
    config_name: str | None = None,
    overrides: list[str] | None = None,
) -> list[str]:
    """Return the choices of a group, as Hydra does.

    It copies all its sources each time, a hundred times for a help page, in case that an override
    adds another.
    """
    if config_name is not None or overrides:
        return stock_options(loader, group_name, results_filter, config_name, overrides)
    return loader.repository.get_group_options(group_name, results_filter)


def register_plugins(words: Sequence[str]) -> None:
    """Let Hydra 1.3 know the plugins that entry points name; 1.4 looks for them itself.

    Looking takes 45 ms, so it is done where Hydra did not find our own below `hydra_plugins`, or
    where a launcher or a sweeper is asked for.
    """
    from hydra.core.plugins import Plugins

    plugins = Plugins.instance()
    _ours_last(plugins)
    asked = any(word.startswith(ABOUT_PLUGINS) for word in words)
    if not NAMES_ITS_BASE or (LAUNCHER in plugins.class_name_to_class and not asked):
        return
    for point in metadata.entry_points(group=PLUGINS):
        try:
            plugin = point.load()
            plugins.register(plugin)
        except Exception as error:  # of others; ours are tested
            print(f"note: Hydra's plugin {point.name} cannot be loaded: {error}", file=sys.stderr)
            continue
        _admit(f"{plugin.__module__}.{plugin.__qualname__}")
    _ours_last(plugins)


def _ours_last(plugins: Any) -> None:
    """Let `stack` and `grid` be ours: a renamed package beside this one calls its own so, too."""
    from hydra.core.config_store import ConfigStore

    for name, choice in ((LAUNCHER, "hydra/launcher/stack"), (SWEEPER, "hydra/sweeper/grid")):
        known = name in plugins.class_name_to_class
        if known and ConfigStore.instance().load(f"{choice}.yaml").node["_target_"] != name:
            sys.modules[name.rpartition(".")[0]].store()


_admitted: set[str] = set()


def _admit(name: str) -> None:
    """Let Hydra 1.3 build a plugin that lies elsewhere than below `hydra_plugins`."""
    from hydra.core.plugins import Plugins

    if not _admitted:
        stock = Plugins.is_in_toplevel_plugins_module
        Plugins.is_in_toplevel_plugins_module = staticmethod(  # type: ignore[assignment]
            lambda asked: stock(asked) or asked in _admitted
        )
    _admitted.add(name)


def resolve(name: str, function: Callable[..., Any]) -> None:
    """Let configs call a function by `${name:...}`; OmegaConf 2.4, of Hydra 1.4, renames this."""
    # 2.3 has another function by the new name
    renamed = "register_new_resolver" if NAMES_ITS_BASE else "register_resolver"
    getattr(OmegaConf, renamed)(name, function, replace=True)


def compose_main(
    conf: Path, name: str, overrides: list[str], mode: RunMode, more: Sequence[str] = ()
) -> tuple[Any, Any]:
    """Compose a config with Hydra's own node, as its command does.

    Args:
        conf: the directory of the config.
        name: its name.
        overrides: as Hydra reads them.
        mode: of Hydra's own node.
        more: further directories with choices.

    Returns:
        The Hydra that did it, and the config.
    """
    from hydra._internal.hydra import Hydra
    from hydra.core.config_search_path import SearchPathQuery

    if NAMES_ITS_BASE:
        version.setbase(BASE["version_base"])
    register_plugins(overrides)
    places = utils.create_config_search_path(str(conf))
    for place in more:
        where = f"file://{Path(place).absolute()}"
        places.prepend("command-line", where, SearchPathQuery(provider="schema", path=None))
    maker = Hydra.create_main_hydra2(name, places)
    return maker, maker.compose_config(name, overrides, mode)


def compose_options(conf: Path, name: str, overrides: list[str]) -> DictConfig:
    """Compose a config without Hydra's own node, whatever Hydra does already.

    Args:
        conf: the directory of the config.
        name: its name.
        overrides: choices of groups.
    """
    if NAMES_ITS_BASE:
        version.setbase(BASE["version_base"])
    loader = ConfigLoaderImpl(utils.create_config_search_path(str(conf)))
    files = CachingConfigRepository(loader.repository)
    asked = OverridesParser.create().parse_overrides(overrides)
    parts = create_defaults_list(files, name, asked, True, False).defaults
    own = [part for part in parts if not str(part.package).startswith("hydra")]
    composed = loader._compose_config_from_defaults_list(own, files)
    composed.pop("hydra", None)
    return composed


class ComposedOnce:
    """Lets Hydra compose a command's config once.

    It composes to learn whether it runs one job or many, whatever becomes of that, and again to
    run them. Between the two nothing changes but a word for what it found, and sweeps in single
    runs are refused.
    """

    def __init__(self) -> None:
        self._asked: tuple[str | None, list[str]] | None = None
        self._composed: DictConfig | Exception = DictConfig({})

    def load(
        self, loader: ConfigLoaderImpl, config_name: str | None, overrides: list[str],
        run_mode: RunMode, from_shell: bool = True, validate_sweep_overrides: bool = True,
    ) -> DictConfig:  # fmt: skip
        """Return the config, as `ConfigLoaderImpl.load_configuration` does."""
        asked, self._asked = self._asked, None
        if not validate_sweep_overrides:  # it only asks for the mode
            self._asked = config_name, list(overrides)
            try:
                self._composed = stock_load(loader, *self._asked, run_mode, from_shell, False)
            except Exception as error:
                self._composed = error
                raise
            return self._composed
        mode = f"hydra.mode={run_mode.name}"
        if asked is None or asked[0] != config_name or overrides != [*asked[1], mode]:
            return stock_load(loader, config_name, overrides, run_mode, from_shell)
        parsed = OverridesParser.create().parse_overrides(overrides)
        loader.validate_sweep_overrides_legal(parsed, run_mode, from_shell)
        if isinstance(self._composed, Exception):
            raise self._composed
        cfg = self._composed
        if "???" in cfg.hydra.runtime.choices.values():  # which it passes over while it asks
            return stock_load(loader, config_name, overrides, run_mode, from_shell)
        set_values(cfg, parsed[-1:])
        cfg.hydra.overrides.hydra.append(mode)
        return cfg


class Pieces:
    """What single files of a config bring to it.

    Args:
        loader: Hydra's config loader.
    """

    def __init__(self, loader: ConfigLoaderImpl) -> None:
        self._loader = loader
        self._repository = CachingConfigRepository(loader.repository)
        self._found: dict[tuple[str, str], DictConfig | None] = {}

    def of(self, group: str, choice: str) -> DictConfig | None:
        """Return what a choice brings below its group; None if it has a say elsewhere, or is not.

        Each call returns the same object.
        """
        key = group, choice
        if key not in self._found:
            try:
                self._found[key] = self._load(group, choice)
            except (HydraException, OmegaConfBaseException):  # Hydra says so when it composes
                self._found[key] = None
        return self._found[key]

    def _load(self, group: str, choice: str) -> DictConfig | None:
        if not self._repository.config_exists(f"{group}/{choice}"):
            return None
        asked = OverridesParser.create().parse_overrides([f"+{group}={choice}"])
        defaults = create_defaults_list(self._repository, None, asked, False, False).defaults
        if any(str(part.package).split(".")[0] != group for part in defaults):
            return None
        whole = self._loader._compose_config_from_defaults_list(defaults, self._repository)
        return whole[group] if set(whole) == {group} else None

    def around(
        self, name: str, overrides: list[str], groups: Collection[str]
    ) -> dict[str, list[DictConfig | None]]:
        """Return what is merged below some groups, in order: None is a group's own choice.

        A group is left out where more than its choice depends on the choice.

        Args:
            name: of the config.
            overrides: that it is composed with.
            groups: of which choices are among them.
        """
        parsed = OverridesParser.create().parse_overrides(overrides)
        found: dict[str, list[DictConfig | None]] = {group: [] for group in groups}
        for part in create_defaults_list(self._repository, name, parsed, True, False).defaults:
            loaded = self._repository.load_config(part.config_path or "")
            if loaded is None or any("${" in str(vars(d)) for d in loaded.defaults_list or []):
                return {}  # one choice may lead to another
            package, group = part.package or "", str(part.config_path).partition("/")[0]
            if package and package.partition(".")[0] in found:
                own = package == group and found[group][-1:] in ([], [None])
                own = own or (package == group and None not in found[group])
                if not own:
                    del found[package.partition(".")[0]]
                elif found[group][-1:] != [None]:
                    found[group].append(None)
            for key in [k for k in loaded.config if k in found and not package]:
                below = loaded.config._get_node(key)
                if isinstance(below, DictConfig):
                    found[key].append(below)
                else:
                    del found[key]
        return found


def set_values(cfg: DictConfig, overrides: list[Override]) -> None:
    """Set values in a config as Hydra does once it has composed."""
    ConfigLoaderImpl._apply_overrides_to_config(overrides, cfg)


def sweeper_of(maker: Any, cfg: DictConfig, task: Callable[[DictConfig], Any]) -> Any:
    """Return the sweeper that a config names, with its launcher."""
    from hydra._internal.callbacks import Callbacks
    from hydra.core.plugins import Plugins

    context = HydraContext(config_loader=maker.config_loader, callbacks=Callbacks())
    return Plugins.instance().instantiate_sweeper(
        config=cfg, hydra_context=context, task_function=task
    )


def base_keeper() -> Callable[[], None]:
    """Return what puts back the `version_base` of now."""
    base = version.getbase()

    def put_back() -> None:
        version.VersionBase.instance().version_base = base

    return put_back
