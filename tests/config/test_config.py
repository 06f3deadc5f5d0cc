"""Contracts of every YAML in conf/, of the rules for options, and of the one way to build."""

from __future__ import annotations

import functools
import importlib.util
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from composed import composed, current
from descent.config.check import (
    build,
    check,
    check_targets,
    flatten,
    plain,
    targets,
)
from descent.config.located import locate
from descent.config.options import FAMILIES, RULES, Rule
from descent.config.overruled import of_training
from descent.errors import UserError

CONF = Path(__file__).parents[2] / "conf"
PRIMARY = ("train", "eval", "report", "export")
# Part of every other file of its group, no choice of its own.
PARTS = {"data/base"}
NEED_EXTRAS = {"sweep/optuna"}  # `make test-slow` installs them


def choices() -> list[str]:
    """Every `group=option` that lies in conf/, whatever will be added to it."""
    found = sorted(p.relative_to(CONF).with_suffix("") for p in CONF.glob("*/*.yaml"))
    left_out = PARTS if find_spec("optuna") else PARTS | NEED_EXTRAS
    return [f"{p.parent}={p.stem}" for p in found if str(p) not in left_out]


def primary_for(choice: str) -> str:
    return "eval" if choice == "hydra=quiet" else "train"


def needed_with(choice: str, csv: Path | str = "some.csv") -> list[str]:
    """What must be typed beside a choice: a user's table has no default, a point needs its land."""
    needed = {
        "data=table": [f"data.path={csv}", "data.target=y"],
        "data=datamodule": ["data.source.datamodule._target_=own_parts.Circles"],
        "data=landscape": ["model=point", "landscape=bowl"],
        "model=point": ["data=landscape", "landscape=bowl"],
    }
    return needed.get(choice, [])


def chosen(primary: str, *overrides: str) -> Any:
    return current(composed(primary, *overrides, *(["run=some/run"] if primary != "train" else [])))


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    rows = "".join(f"{i},{i % 7},{3.5 * i}\n" for i in range(100))
    (tmp_path / "some.csv").write_text("a,b,y\n" + rows)
    return tmp_path / "some.csv"


# ---- every YAML


@pytest.mark.parametrize("choice", choices())
def test_every_choice_composes_and_passes_the_check(choice: str) -> None:
    primary = primary_for(choice)
    cfg = chosen(primary, choice, *needed_with(choice))
    check(cfg)
    # none of our own choices overrules itself, but for those that end a run after an epoch
    if primary == "train" and not choice.startswith("debug="):
        assert not of_training(plain(cfg), (), classes=False, many=True)


@pytest.mark.parametrize("choice", choices())
def test_every_target_exists_and_is_trusted_when_a_run_is_read_back(choice: str) -> None:
    cfg = chosen(primary_for(choice), choice, *needed_with(choice))
    node = OmegaConf.to_container(cfg, resolve=True)
    for where, target in targets(node):
        assert callable(locate(target, where))
    check_targets(node, "conf", ["own_parts"] if choice == "data=datamodule" else [])


def built_choices() -> list[str]:
    return [c for c in choices() if not c.startswith(("hydra=", "paths="))]


OF_NUMBERS = [f"loss={name}" for name in ("mse", "half_mse", "mae", "huber", "quantile")]


@pytest.mark.parametrize("choice", built_choices())
def test_every_choice_builds(choice: str, make_job: Any, csv: Path) -> None:
    """Model, optimizer, schedule, data, callbacks, loggers and trainer: all that a run is."""
    import torch

    from descent.assembly import assemble

    small = (
        []
        if choice.startswith(("data=", "experiment=", "debug=", "model=point"))
        else ["data=diabetes" if choice in OF_NUMBERS else "data=iris"]
    )
    few = ["data.batch_size=10"] if choice in ("data=table", "data=datamodule") else []
    job = make_job(*small, choice, *needed_with(choice, csv), *few)
    if job.config["trainer"]["accelerator"] == "cuda" and not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"The trainer refuses its settings: .*CUDA"):
            assemble(job)
        return
    service = choice.removeprefix("logger=")
    if service in ("wandb", "mlflow", "trackio") and not importlib.util.find_spec(service):
        with pytest.raises(UserError, match=f"^{choice} needs an extra: pip install"):
            assemble(job)
        return
    learner, data, trainer = assemble(job)
    assert learner.kernel.model(0) is not None
    assert data.rows["train"] > 0
    assert len(trainer.loggers) == len(job.config["logger"])


def test_a_data_file_other_than_the_base_names_its_source() -> None:
    for path in (CONF / "data").glob("*.yaml"):
        if f"data/{path.stem}" not in PARTS:
            assert "source" in OmegaConf.load(path), path.name


@pytest.mark.parametrize(
    "path", sorted(CONF.rglob("*.yaml")), ids=lambda p: f"{p.parent.name}-{p.stem}"
)
def test_every_file_says_at_its_top_what_it_is(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    assert lines[0].startswith("# "), lines[0]


# ---- rules


@functools.cache
def options() -> set[str]:
    """Every leaf that can be set, over all YAML; references such as ${data.path} are no options."""
    found: set[str] = set()
    composable = [(primary_for(choice), choice, *needed_with(choice)) for choice in choices()]
    for primary, *given in [*composable, *((primary,) for primary in PRIMARY)]:
        cfg = chosen(primary, *given)
        leaves = dict(flatten(OmegaConf.to_container(cfg, resolve=False)))
        for key, value in leaves.items():
            refers = (
                isinstance(value, str) and value.startswith("${") and not key.startswith("paths.")
            )
            emptied = (
                value is None and key.startswith(("callbacks.", "logger.")) and key.count(".") == 1
            )
            special = key.rsplit(".", 1)[-1] in ("_target_", "_partial_")
            if not (refers or emptied or special or value == {}):
                found.add(key)
    return found


def test_every_option_has_a_rule() -> None:
    assert sorted(k for k in options() - RULES.keys() if k.split(".")[0] not in FAMILIES) == []


def test_every_rule_has_an_option() -> None:
    # these repeat another option by reference, and their rules guard run directories
    repeats = {"callbacks.full_loss.target", "model.landscape", "model.start", "data.source.name"}
    repeats |= {"data.metrics", "optimized_metric"}
    assert sorted(RULES.keys() - options() - repeats) == []


@pytest.mark.parametrize(
    ("rule", "good", "bad", "words"),
    [
        (Rule(int, at_least=1), [1, 7], [0, 1.0, True, "1", None], "a whole number of at least 1"),
        (Rule(int, at_least=1, words=("full",)), [1, "full"], [0, "half"],
         "a whole number of at least 1 or full"),
        (Rule(int, at_least=1, words=(None,)), [1, None], [0, "null"],
         "a whole number of at least 1 or null"),
        (Rule(float, above=0), [1, 0.5], [0, -1, float("nan"), float("inf"), True, "a"],
         "a number above 0"),
        (Rule(float, at_least=0, below=1), [0, 0.99], [1, -0.1],
         "a number of at least 0 and below 1"),
        (Rule(float, above=0, at_most=1), [0.1, 1], [0, 1.1], "a number above 0 and at most 1"),
        (Rule(float), [-1, 2.5], [float("-inf"), "x"], "a number"),
        (Rule(bool), [True, False], [0, 1, "yes", None], "true or false"),
        (Rule(bool, words=("warn",)), [True, "warn"], ["error"], "true or false or warn"),
        (Rule(str), ["", "a"], [1, None], "a text"),
        (RULES["data.scale"], ["none"], ["None", None, 1], "standardize, together, minmax or none"),
        (Rule(int, at_least=1, each=True), [[], [3, 4]], [3, [0], [True], "34", None],
         "a list, each item a whole number of at least 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_a_rule_accepts_what_fits_and_says_what_would(
    rule: Rule, good: list[Any], bad: list[Any], words: str
) -> None:
    assert [rule.problem(value) for value in good] == [None] * len(good)
    assert [rule.problem(value) for value in bad] == [words] * len(bad)


def test_a_list_that_may_be_null_has_no_null_items() -> None:
    rule = RULES["data.features"]
    assert rule.problem(None) is None
    assert rule.problem(["a", "b"]) is None
    assert rule.problem([None]) is not None


def test_the_check_names_the_option_the_value_and_what_fits() -> None:
    cfg = chosen("train", "data.order=random", "picture=false")
    sentence = "data.order=random does not fit: it must be shuffle, sequential or with_replacement."
    with pytest.raises(UserError) as caught:
        check(cfg)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["stop.epochs=null"], r"Nothing would end this run: give stop.epochs, stop.steps or both"),
        (["data.val_fraction=0.5", "data.test_fraction=0.5"], r"add up to 1 .*must be below 1"),
        (["data.batch_size=full", "data.order=with_replacement"],
         r"data.batch_size=full means every row once"),
        (["data=table", "data.target=y"], r"data.path is not set.*data.path=\.\.\."),
    ],
    ids=lambda value: None if isinstance(value, str) else value[-1],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(overrides: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check(chosen("train", *overrides))


def test_a_model_from_elsewhere_has_its_own_options() -> None:
    cfg = chosen("train", "model=mlp", "model._target_=mymodels.Net", "model.hidden=3")
    check(cfg)  # `hidden: 3` would break the rule of our own MLP


def test_any_optimizer_needs_a_learning_rate_above_0() -> None:
    cfg = chosen("train", "optimizer._target_=mine.Optimizer", "optimizer.lr=0")
    with pytest.raises(UserError, match=r"optimizer.lr=0 does not fit: .* above 0"):
        check(cfg)


# ---- configs from disk

EVIL = {"_target_": "os.system", "command": "true"}
NESTED = {
    "model._target_": {"model": EVIL},
    "model.inner._target_": {"model": {"_target_": "torch.nn.Sequential", "inner": EVIL}},
    "model._args_[1]._target_": {"model": {"_target_": "torch.nn.Sequential", "_args_": [1, EVIL]}},
    "a[0][0]._target_": {"a": [[EVIL]]},
}


@pytest.mark.parametrize(("where", "config"), NESTED.items(), ids=NESTED)
def test_an_untrusted_target_is_found_wherever_it_hides(where: str, config: Any) -> None:
    with pytest.raises(UserError) as caught:
        check_targets(config, "some/run")
    assert str(caught.value) == (
        f"some/run asks to run 'os.system' ({where}), which is not among the trusted packages; "
        "if you trust it, add trust=[os]."
    )


@pytest.mark.parametrize(
    "target",
    [
        "builtins.eval",
        "subprocess.Popen",
        "torch.load",
        "torch.hub.load",
        "descentevil.models.Net",  # a package whose name begins like ours
        "descent",
        "lightning.pytorch.Trainer.fit",
        "lightning.pytorch.trainer.connectors.data_connector.warnings.warn",
        "descent.records.run.os.system",  # a module that one of ours imports
        "descent.training.subprocess.run",
        "descent.config.check.inspect.sys.exit",
        "torch.nn.functional.importlib.import_module",
        "torch.nn.modules.module.torch.load",
        "torch.optim.optimizer.warnings.warn",
        "descent.models.linear.Linear.__init__.__globals__.clear",
        "descent.records.run.Run.__subclasses__",
        "['os.system']",
        "",
    ],
)
def test_a_target_outside_the_trusted_packages_is_refused(target: str) -> None:
    with pytest.raises(UserError):
        check_targets({"model": {"_target_": target}}, "some/run")


def test_a_refusal_imports_nothing_of_the_named_package(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "evil.py").write_text("from pathlib import Path; Path('owned').touch()")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"evil\.Net"):
        check_targets({"model": {"_target_": "evil.Net"}}, "some/run")
    assert not Path("owned").exists()


# Our own builders turn mappings into calls, so a trusted call of a builder is a call of anything:
# pairs are no mapping, and `check_targets` does not see a target in them.
PAIRS = [["_target_", "os.mkdir"], ["path", "owned"]]


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "descent.config.check.build", "node": PAIRS, "where": "model"},
        {"_target_": "descent.data.prepare.prepare", "data": {"source": PAIRS}},
        {  # a mapping that another file of the run directory holds
            "_target_": "descent.config.check.build",
            "where": "model",
            "node": {
                "_target_": "descent.records.run.Run._json",
                "self": {"_target_": "descent.records.run.Run", "path": "."},
                "name": "evil.json",
            },
        },
    ],
    ids=["build", "prepare", "build_from_json"],
)
def test_our_own_builders_are_no_way_round_the_trusted_packages(
    node: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """What a run directory may do: `check_targets`, then `build`. Neither may run the command."""
    monkeypatch.chdir(tmp_path)
    Path("evil.json").write_text('{"_target_": "os.mkdir", "path": "owned"}')
    with suppress(Exception):
        check_targets({"data": {"source": node}}, "some/run")
        build(node, "data.source")
    assert not Path("owned").exists()


def test_a_package_the_user_trusts_is_admitted_and_no_other() -> None:
    config = {"model": {"_target_": "collections.OrderedDict"}}
    check_targets(config, "some/run", trust=["collections"])
    with pytest.raises(UserError, match=r"add trust=\[collections\]"):
        check_targets(config, "some/run", trust=["collection", "os"])


LINEAR, SEQUENTIAL = {"_target_": "torch.nn.Linear"}, {"_target_": "torch.nn.Sequential"}
EARLY = "lightning.pytorch.callbacks.EarlyStopping"
CSV, KEEPER = "lightning.pytorch.loggers.CSVLogger", "lightning.pytorch.callbacks.ModelCheckpoint"


@pytest.mark.parametrize(
    "config",
    [
        {"model": {**SEQUENTIAL, "_args_": [{**LINEAR, "in_features": 2}, SEQUENTIAL]}},
        {"model": {"_target_": "torch.nn.modules.linear.Linear", "in_features": 2}},
        {"optimizer": {"_target_": "torch.optim.adam.Adam", "_partial_": True, "lr": 0.1}},
        {"scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "interval": "step"}},
        {"callbacks": {"stop": {"_target_": EARLY, "monitor": "x"}, "off": None}},
        {"callbacks": {"stop": {"_target_": EARLY.replace(".Early", ".early_stopping.Early")}}},
        {"callbacks": {"keep": {"_target_": KEEPER, "filename": "{epoch:02d}-{val/loss:.2f}"}}},
        {"logger": {"csv": {"_target_": CSV, "name": "csv", "version": ""}}},
        {"trainer": {"_target_": "lightning.pytorch.Trainer", "profiler": {
            "_target_": "lightning.pytorch.profilers.SimpleProfiler", "filename": "p"}}},
        {"data": {"source": {"_target_": "descent.data.table.table", "path": "/some/where.csv"}}},
        {"nothing": {"that": ["is", {"built": "model._target_"}]}},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_listed_may_stand_where_it_belongs(config: Any) -> None:
    check_targets(config, "some/run")


READER = "descent.data.table.read_table"


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"data": {"source": {"_target_": READER, "path": "x"}}}, "data.source._target_"),
        ({"data": {"source": {"_target_": "descent.data.arrays.Task"}}}, "data.source._target_"),
        ({"data": {"source": LINEAR}}, "data.source._target_"),
        ({"data": {"augment": LINEAR}}, "data.augment._target_"),
        ({"model": {"_target_": EARLY}}, "model._target_"),
        ({"callbacks": {"x": LINEAR}}, r"callbacks.x._target_"),
        ({"callbacks": {"x": {"y": {"_target_": EARLY}}}}, r"callbacks.x.y._target_"),
        ({"optimizer": {"_target_": "torch.optim.lr_scheduler.StepLR"}}, "optimizer._target_"),
        ({"optimizer": {"_target_": "torch.optim.Optimizer"}}, "optimizer._target_"),
        ({"scheduler": {"_target_": "torch.optim.lr_scheduler.LambdaLR"}}, "scheduler._target_"),
        ({"trainer": {"_target_": "lightning.pytorch.Trainer", "strategy": LINEAR}},
         "trainer.strategy._target_"),
        ({"stop": LINEAR}, "stop._target_"),
        (LINEAR, "_target_"),
        ({"model": {"_target_": "torch.nn.utils.Linear"}}, "model._target_"),
        ({"model": {"_target_": ["torch.nn.Linear"]}}, "model._target_"),
        ({"model": {"x": {"_args_": [1]}}}, "model.x._args_"),
        ({"callbacks": {"x": {"_recursive_": False}}}, "callbacks.x._recursive_"),
        ({"model": {**LINEAR, "_recursive_": False}}, "model._recursive_"),
        ({"model": {**LINEAR, "_convert_": "all"}}, "model._convert_"),
        ({"model": {**LINEAR, "_partial_": True}}, "model._partial_"),
        ({"model": {**LINEAR, "device": "meta"}}, "model.device"),
        ({"model": {**LINEAR, 3: 1}}, "model.3"),
        ({"optimizer": {"_target_": "torch.optim.SGD", "_args_": [[]]}}, "optimizer._args_"),
        ({"callbacks": {"keep": {"_target_": KEEPER, "dirpath": "/x"}}}, "callbacks.keep.dirpath"),
        ({"callbacks": {"keep": {"_target_": KEEPER, "filename": "../x"}}}, "keep.filename"),
        ({"callbacks": {"keep": {"_target_": KEEPER, "filename": "/x"}}}, "keep.filename"),
        ({"callbacks": {"keep": {"_target_": KEEPER, "filename": "{a.__class__}"}}}, "filename"),
        ({"logger": {"csv": {"_target_": CSV, "save_dir": "x"}}}, "logger.csv.save_dir"),
        ({"logger": {"csv": {"_target_": CSV, "name": ".."}}}, "logger.csv.name"),
        ({"logger": {"csv": {"_target_": CSV, "version": ["a"]}}}, "logger.csv.version"),
        ({"callbacks": {"path": {"_target_": "descent.callbacks.path.Path", "run_dir": "x"}}},
         "callbacks.path.run_dir"),
        ({"logger": {"tb": {"_target_": "descent.records.logger.EventFileLogger",
                            "run_dir": "x"}}}, "logger.tb.run_dir"),
        ({"trainer": {"_target_": "lightning.pytorch.Trainer", "default_root_dir": "x"}},
         "trainer.default_root_dir"),
        ({"trainer": {"_target_": "lightning.pytorch.Trainer", "profiler": {
            "_target_": "lightning.pytorch.profilers.AdvancedProfiler", "dirpath": "x"}}},
         "trainer.profiler.dirpath"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_what_is_listed_may_stand_nowhere_else_and_write_nowhere_else(
    config: Any, where: str
) -> None:
    with pytest.raises(UserError) as refused:
        check_targets(config, "some/run")
    assert f"{where})" in str(refused.value).replace("(_target_", "(._target_")
    assert str(refused.value).startswith("some/run ")


def test_whoever_trusts_a_package_gets_all_of_it_and_is_told_what_that_is(caplog: Any) -> None:
    node = {"logger": {"csv": {"_target_": CSV, "save_dir": "/x"}}, "model": LINEAR}
    caplog.set_level("INFO")
    check_targets(node, "a/run", trust=["lightning"])
    check_targets(node, "a/run", trust=["lightning"])
    assert caplog.messages == [f"trust lets a/run run {CSV} (logger.csv)"]


# ---- build


def test_an_unknown_argument_is_named_with_the_one_that_was_meant() -> None:
    node = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1, "momentun": 0.9}
    with pytest.raises(UserError) as caught:
        build(node, "optimizer")
    assert str(caught.value) == (
        "optimizer.momentun is no argument of torch.optim.SGD; did you mean 'momentum'?"
    )


def test_an_unknown_argument_like_no_other_gets_the_list_of_arguments() -> None:
    node = {"_target_": "descent.models.linear.Linear", "zzz": 1}
    sizes = {"in_features": 3, "out_features": 1}
    with pytest.raises(UserError, match="it takes in_features, out_features, bias, init"):
        build(node, "model", offer=sizes)


def test_a_missing_argument_is_named_with_how_to_give_it() -> None:
    node = {"_target_": "descent.models.linear.Linear", "in_features": 3}
    with pytest.raises(UserError) as caught:
        build(node, "model")
    assert str(caught.value) == (
        "model lacks 'out_features', which descent.models.linear.Linear needs: "
        "+model.out_features=..."
    )


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("descent.models.linear.Liner", r"=descent.models.linear.Liner cannot be found"),
        ("descent.nowhere.Linear", r"=descent.nowhere.Linear cannot be found: No module"),
        ("no_such_package.Net", r"=no_such_package.Net cannot be found: No module"),
        ("descent.records.run.BEST", r"=descent.records.run.BEST is not something"),
    ],
)  # fmt: skip
def test_an_unknown_target_is_named_with_its_key(target: str, sentence: str) -> None:
    with pytest.raises(UserError, match="^model._target_" + sentence):
        build({"_target_": target}, "model")


def test_an_unknown_target_gets_its_one_sentence_and_no_log_beside_it(caplog: Any) -> None:
    with pytest.raises(UserError, match=r"MLPP cannot be found; did you mean 'MLP'\?"):
        build({"_target_": "descent.models.mlp.MLPP"}, "model")
    assert caplog.records == []


def test_an_unknown_target_within_a_target_is_a_mistake_of_the_user_too() -> None:
    node = {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.Liner"}]}
    with pytest.raises(UserError, match=r"torch\.nn\.Liner"):
        build(node, "model")


def test_a_node_without_a_target_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"model\._target_"):
        build({"hidden": [3]}, "model")


def test_sizes_are_offered_only_to_those_who_take_them() -> None:
    from torch import nn

    sizes = {"in_features": 3, "out_features": 2}
    assert build({"_target_": "torch.nn.Linear"}, "model", offer=sizes).in_features == 3
    assert isinstance(build({"_target_": "torch.nn.Flatten"}, "model", offer=sizes), nn.Flatten)


def test_an_option_of_the_config_goes_before_an_offer() -> None:
    node = {"_target_": "torch.nn.Linear", "in_features": 7}
    assert build(node, "model", offer={"in_features": 3, "out_features": 2}).in_features == 7


def test_what_is_given_arrives_as_it_is() -> None:
    given = [object()]
    node = {"_target_": "descent.callbacks.divergence.Divergence", "factor": 2.0}
    assert build(node, "callbacks.divergence", checks=given).checks is given


def test_a_partial_still_takes_arguments() -> None:
    import torch

    made = build({"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.5}, "optimizer")
    assert isinstance(made, functools.partial)
    assert made([torch.zeros(1, requires_grad=True)]).param_groups[0]["lr"] == 0.5


def test_what_the_target_says_to_the_user_passes_through() -> None:
    node = {"_target_": "descent.data.line.line", "start": 3.0, "end": 3.0}
    with pytest.raises(UserError, match="are both 3; a line needs two ends"):
        build(node, "data.source")


@pytest.mark.parametrize(
    ("target", "given"),
    [
        ("lightning.pytorch.loggers.WandbLogger", {}),
        ("lightning.pytorch.loggers.WandbLogger", {"offline": False}),
        ("descent.records.trackers.WandbRun", {"offline": False}),
        ("descent.records.trackers.MlflowRun", {"tracking_uri": "http://localhost:5000"}),
    ],
)
def test_a_directory_sends_nothing_over_the_network(target: str, given: dict[str, Any]) -> None:
    node = {"_target_": target, **given}
    with pytest.raises(UserError, match="over the network in your name"):
        check_targets({"logger": {"mine": node}}, "a run")
