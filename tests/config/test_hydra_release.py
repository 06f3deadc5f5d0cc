"""What depends on Hydra's release and on Python's: one module, `config/hydra_release.py`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import RunMode
from omegaconf import OmegaConf

from descent.config import hydra_release

ROOT = Path(__file__).parents[2]


# ---- Python 3.14


@pytest.fixture
def strict_argparse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let argparse look into help texts when a flag is added, as Python 3.14 does (gh-65865)."""
    if sys.version_info >= (3, 14):
        return
    add = argparse._ActionsContainer.add_argument

    def add_argument(self: Any, *names: Any, **options: Any) -> argparse.Action:
        action = add(self, *names, **options)
        if action.help and hasattr(self, "_get_formatter"):
            try:
                if "%" in action.help:
                    self._get_formatter()._expand_help(action)
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError("badly formed help string") from error
        return action

    monkeypatch.setattr(argparse._ActionsContainer, "add_argument", add_argument)


@pytest.mark.usefixtures("strict_argparse")
def test_hydras_flags_can_be_made_where_argparse_looks_into_help_texts() -> None:
    if hydra_release.NAMES_ITS_BASE:
        with pytest.raises(ValueError, match="badly formed help string"):
            get_args_parser()
    parser = hydra_release.arguments()
    read = parser.parse_args(["-m", "a=1", "--cfg", "job"])
    assert (read.multirun, read.overrides, read.cfg) == (True, ["a=1"], "job")
    texts = {action.dest: f"{action.help}" for action in parser._actions}
    assert "shell completion" in texts["shell_completion"]  # Hydra's help page prints it so


def test_nothing_else_of_argparse_is_replaced() -> None:
    before = argparse.ArgumentParser
    hydra_release.arguments()
    assert argparse.ArgumentParser is before
    assert argparse.ArgumentParser().parse_args([]) == argparse.Namespace()


# ---- plugins


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """Return Hydra's plugins, whose list a test may change."""
    known = Plugins.instance()
    of_type = {kind: list(found) for kind, found in known.plugin_type_to_subclass_list.items()}
    monkeypatch.setattr(known, "class_name_to_class", dict(known.class_name_to_class))
    monkeypatch.setattr(known, "plugin_type_to_subclass_list", of_type)
    return known


def test_the_entry_points_of_the_project_name_its_own_plugins() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    points = project["entry-points"][hydra_release.PLUGINS]
    named = {path.replace(":", ".") for path in points.values()}
    assert hydra_release.LAUNCHER in named
    for path in points.values():
        module, _, name = path.partition(":")
        assert f"{module}.{name}" in Plugins.instance().class_name_to_class
        assert getattr(import_module(module), name).__module__ == module


def test_a_plugin_is_found_by_its_entry_point_wherever_it_lies(
    plugins: Plugins,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "acme_plugin.py").write_text(
        "from hydra.plugins.launcher import Launcher\n"
        "class Acme(Launcher):\n"
        "    def __init__(self, size): self.size = size\n"
        "    def setup(self, **_): pass\n"
        "    def launch(self, job_overrides, initial_job_idx): return []\n"
    )
    about = tmp_path / "acme_plugin-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-plugin\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[hydra.plugins]\nacme = acme_plugin:Acme\nlost = acme_plugin:Lost\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    name = "acme_plugin.Acme"
    hydra_release.register_plugins(["hydra/launcher=acme"])
    assert name in plugins.class_name_to_class
    from omegaconf import OmegaConf

    made = plugins._instantiate(OmegaConf.create({"_target_": name, "size": 3}))
    assert isinstance(made, Launcher)
    assert made.size == 3
    told = [line for line in capsys.readouterr().err.splitlines() if "plugin lost " in line]
    assert len(told) == 1  # whatever else is installed here
    assert told[0].startswith("note: Hydra's plugin lost cannot be loaded: ")


def test_a_launcher_that_hydra_overlooked_is_found_without_being_asked_for(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    monkeypatch.setattr(
        hydra_release.metadata, "entry_points", lambda group: looked.append(group) or []
    )
    hydra_release.register_plugins(["optimizer=sgd"])
    assert looked == []  # 45 ms saved
    del plugins.class_name_to_class[hydra_release.LAUNCHER]
    hydra_release.register_plugins(["optimizer=sgd"])
    assert looked == ([hydra_release.PLUGINS] if hydra_release.NAMES_ITS_BASE else [])


def test_a_renamed_package_beside_this_one_leaves_it_its_launcher(plugins: Plugins) -> None:
    names = {"launcher/stack": hydra_release.LAUNCHER, "sweeper/grid": hydra_release.SWEEPER}
    there = ConfigStore.instance()
    for name in names:  # as acme's plugins do when they are imported after ours
        kind, choice = name.split("/")
        there.store(group=f"hydra/{kind}", name=choice, node={"_target_": f"acme.{choice}"})
    hydra_release.register_plugins(["optimizer=sgd"])
    for name, target in names.items():
        assert there.load(f"hydra/{name}.yaml").node["_target_"] == target


# ---- Hydra 1.4


@pytest.fixture(scope="module")
def next_hydra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment with Hydra's pre-release and all else from this one."""
    place = tmp_path_factory.mktemp("hydra")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(place / "bin" / "python"), "install"]
    quiet = ["--quiet", "--disable-pip-version-check", "--retries=0", "--timeout=30"]
    asked = [*pip, *quiet, "--pre", "hydra-core>=1.4.0rc1,<1.5"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no words"])[-1]
        pytest.skip(f"a pre-release of Hydra 1.4 cannot be installed here: {why}")
    (own,) = (place / "lib").glob("python3*/site-packages")
    others = [p for p in sys.path if p.endswith("site-packages")]
    (own / "others.pth").write_text("\n".join([*others, str(ROOT / "src")]) + "\n")
    return place / "bin" / "python"


@pytest.mark.slow
def test_runs_sweeps_and_python_work_with_the_next_hydra(next_hydra: Path, tmp_path: Path) -> None:
    def typed(*words: str) -> str:
        done = subprocess.run(
            [str(next_hydra), *words], cwd=tmp_path, env={**os.environ, "COLUMNS": "100"},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stderr == "", "it warns"
        return done.stdout

    assert typed("-c", "import hydra; print(hydra.__version__)").startswith("1.4")
    train = str(ROOT / "src" / "train.py")
    small = ("data=iris", "model=linear", "stop.epochs=2")
    told = typed(train, "-m", *small, "optimizer.lr=0.1,0.2", "report=false")
    assert "2 runs: 2 ok" in told
    typed(train, *small, "hydra.run.dir=run", "picture=false", "learner=mixup")
    code = (
        "import descent; small = ('data=iris', 'model=linear', 'stop.epochs=2');"
        "run = descent.train(*small, quiet=True);"
        "print(run.status, descent.load('run').status)"
    )
    assert typed("-c", code) == "ok ok\n"
    refused = subprocess.run(
        [str(next_hydra), train, "optimizer.learnin_rate=0.1"], cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "did you mean 'optimizer.lr'?" in refused.stderr


def test_a_help_page_lists_what_hydra_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    maker, _ = hydra_release.compose_main(ROOT / "conf", "train", [], RunMode.RUN)
    groups = maker.config_loader.list_groups("")
    listed = [maker.config_loader.get_group_options(group) for group in groups]
    monkeypatch.setattr(ConfigLoaderImpl, "get_group_options", hydra_release.group_options)
    assert [maker.config_loader.get_group_options(group) for group in groups] == listed
    few = maker.config_loader.get_group_options("optimizer", overrides=["hydra.searchpath=[]"])
    assert few == listed[groups.index("optimizer")]
    GlobalHydra.instance().clear()


# ---- composed once


@pytest.mark.skipif(not hydra_release.NAMES_ITS_BASE, reason="Hydra 1.4 composes as it does")
@pytest.mark.parametrize(
    ("typed", "mode"),
    [
        (["optimizer=adam", "model.hidden=[3]"], RunMode.RUN),
        (["optimizer.lr=1e-2,1e-1", "seed=range(2)"], RunMode.MULTIRUN),
        (["sweep=lr", "hydra/launcher=basic"], RunMode.MULTIRUN),
        (["optimizer.lrr=1"], RunMode.RUN),
        (["optimizer=no_such"], RunMode.RUN),
        (["optimizer.lr=1,2"], RunMode.RUN),
    ],
)
def test_what_is_composed_once_is_what_hydra_composes_twice(
    typed: list[str], mode: RunMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same config, or the same complaint; and the second time nothing is composed."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    hydra_release.version.setbase("1.3")
    places = hydra_release.utils.create_config_search_path(str(ROOT / "conf"))
    loader, once, asked = ConfigLoaderImpl(places), hydra_release.ComposedOnce(), []

    def composed(load: Any) -> Any:
        for ask in (True, False):
            words = typed if ask else [*typed, f"hydra.mode={mode.name}"]
            how = RunMode.MULTIRUN if ask else mode
            try:
                made = load(loader, "train", words, how, validate_sweep_overrides=not ask)
            except Exception as error:
                made = f"{type(error).__name__}: {error}"
        return made

    def stock(*given: Any, **named: Any) -> Any:
        asked.append(given)
        return theirs(*given, **named)

    theirs = hydra_release.stock_load
    monkeypatch.setattr(hydra_release, "stock_load", stock)
    ours, expected = composed(once.load), composed(theirs)
    assert len(asked) == 1
    if isinstance(expected, str):
        assert ours == expected
    else:
        assert OmegaConf.to_yaml(ours) == OmegaConf.to_yaml(expected)


def test_options_are_those_of_the_composed_config() -> None:
    composed = hydra_release.compose_options(ROOT / "conf", "train", ["optimizer=adam"])
    with hydra.initialize_config_dir(str(ROOT / "conf"), **hydra_release.BASE):
        expected = hydra.compose("train", overrides=["optimizer=adam"])
    assert OmegaConf.to_container(composed) == OmegaConf.to_container(expected)
