"""A multirun's configs beside those that Hydra itself composes, job by job."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

import descent.cli  # noqa: F401 - registers the resolvers
from descent.config.check import flatten, plain
from descent.errors import UserError
from descent.sweep.choices import Choices
from descent.sweep.composing import Composed, Composer, CompositionError

CONF = Path(__file__).parents[2] / "conf"
TIMES = ("paths.run", "paths.sweep")  # hold the time of composition
VALLEY, SIZES, SCALING = (
    f"experiment={name}"
    for name in ("optimizers_on_a_valley", "gd_vs_sgd_vs_minibatch", "standardize_or_not")
)
POINT = ("model=point", "data=landscape")


@cache
def hydras_loader() -> Any:
    """Return Hydra's loader of conf/; what it has composed it does not compose again."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
    compose = loader.load_sweep_config
    known: dict[tuple[str, ...], DictConfig] = {}

    def load_sweep_config(master: DictConfig, overrides: list[str]) -> DictConfig:
        own = OmegaConf.to_container(master.hydra.overrides.hydra)
        key = (*own, *overrides)
        if key not in known:
            known[key] = compose(master, overrides)
        return copy.deepcopy(known[key])

    loader.load_sweep_config = load_sweep_config
    return loader


class Multirun:
    """A multirun, and what Hydra makes of its jobs.

    Args:
        typed: overrides of the multirun itself.
    """

    def __init__(self, *typed: str) -> None:
        self.loader = hydras_loader()
        self.master = self.loader.load_configuration(
            "train", overrides=list(typed), run_mode=RunMode.MULTIRUN
        )

    def composed(self, jobs: Sequence[Sequence[str]], first: int = 0) -> list[Composed]:
        return list(Composer(self.loader, self.master).compose(jobs, first))

    def launched(self, job: Sequence[str], number: int = 0) -> DictConfig:
        """Return what Hydra's launcher hands to `run_job`."""
        cfg = self.loader.load_sweep_config(self.master, list(job))
        with open_dict(cfg):
            cfg.hydra.job.id, cfg.hydra.job.num = str(number), number
        HydraConfig.instance().set_config(cfg)
        return cfg

    def config(self, job: Sequence[str], number: int = 0) -> dict[str, Any]:
        """Return what Hydra's `run_job` hands to the task, as plain containers."""
        task = self.launched(job, number)
        with read_write(task), open_dict(task):
            del task["hydra"]
        return plain(task)

    def directory(self, job: Sequence[str], number: int) -> str:
        return str(OmegaConf.select(self.launched(job, number), "hydra.sweep.subdir"))

    def hold_against_hydra(self, jobs: Sequence[Sequence[str]], first: int = 0) -> None:
        for number, (job, made) in enumerate(
            zip(jobs, self.composed(jobs, first), strict=True), start=first
        ):
            assert (made.number, made.overrides) == (number, tuple(job))
            assert leaves(made.config) == leaves(self.config(job, number)), job


@cache
def multirun(*typed: str) -> Multirun:
    return Multirun(*typed)


@pytest.fixture(autouse=True)
def hydra_forgets() -> Iterator[None]:
    yield
    HydraConfig.instance().cfg = None


def leaves(config: dict[str, Any]) -> list[tuple[str, str]]:
    """Return every leaf in its order; 1, 1.0 and True differ, and so they do here."""
    return [(key, repr(value)) for key, value in flatten(config) if key not in TIMES]


# ---- configs

FAMILIES = {
    "values": [
        ["optimizer.lr=0.1"],
        ["optimizer.lr=1e-5"],
        ["seed=3", "optimizer.lr=0.5"],
        ["optimizer.lr=0.75", "seed=4"],
        ["seed=1", "seed=2"],
        ["model.hidden=[8]"],
        ["model.hidden=[]"],
        ["stop.epochs=null"],
        ["stop.epochs=7"],
        ["stop.loss=0.5"],  # callbacks.full_loss.target refers to it
        ["stop.loss=null"],
        ["stop.loss=1", "callbacks.full_loss.target=2"],
        ["stop.loss=3", "callbacks.full_loss.target=${optimizer.lr}"],
        ["stop.loss=3", "callbacks.full_loss.target=${.every_n_epochs}"],
        ["picture=true"],
        ["picture=false"],
        ["name='a, b'"],
        ["name='\\${seed}'"],
        ["name=lr_${optimizer.lr}_${seed}", "seed=8"],
        ["name=lr_${optimizer.lr}_${seed}", "seed=9"],
        ["callbacks.path=null"],
        ["paths.outputs=here", "seed=1"],
    ],
    "groups": [
        ["optimizer=sgd"],
        ["optimizer=adam"],
        ["optimizer=adam", "optimizer.lr=0.5"],
        ["optimizer=adam", "optimizer.betas=[0.8,0.9]"],
        ["optimizer=adam", "optimizer.betas=[0.8,${optimizer.lr}]"],
        ["data=diabetes", "data.batch_size=full"],
        ["data=diabetes", "data.batch_size=20"],
        ["data=table", "data.path=a.csv", "data.target=y", "data.features=[a,b]"],
        ["data=table", "data.path=b.csv", "data.target=z", "data.features=null"],
        ["model=linear", "scheduler=cosine", "scheduler.T_max=5"],
        ["model=linear", "scheduler=cosine", "scheduler.T_max=auto"],
        ["callbacks=early_stopping", "stop.loss=1"],
        ["diagnostics=[sharpness,weights]"],
        ["diagnostics=[]", "logger=none", "trainer=float64"],
        ["debug=overfit", "data.limit=40"],
    ],
    "crossed": [
        ["data=digits", "model=mlp", "optimizer=sgd", "scheduler=constant", "trainer=cpu"],
        ["data=diabetes", "model=linear", "optimizer=adam", "scheduler=cosine", "trainer=float64"],
        [
            "data=line",
            "optimizer.lr=0.5",
            "model=linear",
            "optimizer=nesterov",
            "scheduler=warmup_cosine",
            "trainer=cpu",
        ],
        ["optimizer=adam", "metrics=all", "loss=huber", "+optimizer.foo=1"],
        ["optimizer=sgd", "metrics=default", "loss=mse", "+optimizer.foo=1"],
    ],
    "added and taken": [
        ["+optimizer.foo=1"],
        ["+optimizer.foo=2"],
        ["++optimizer.lr=3"],
        ["+tuned={a:1,b:2}", "optimizer.lr=${tuned.a}"],
        ["+tuned={a:1,b:2}", "optimizer.lr=${tuned.b}"],
        ["~penalty"],
        ["~penalty.l1", "seed=1"],
        ["~penalty.l1", "seed=2"],
        ["~optimizer.momentum=0.9"],
        ["~scheduler"],
    ],
    "recipes": [
        [VALLEY, "optimizer=sgd"],
        [VALLEY, "optimizer=adam"],
        [VALLEY, "optimizer=adam", "tuned.adam=0.5"],
        [VALLEY, "optimizer=adam", "tuned.adam=0.75"],
        [SIZES, "data.batch_size=1"],
        [SIZES, "data.batch_size=20"],
        [SIZES, "data.batch_size=full"],
        [SIZES, "data.batch_size=20", "tuned.20=0.5"],
        [SCALING, "data.scale=none"],
        [SCALING, "data.scale=standardize"],
        ["experiment=early_stopping", "callbacks=default"],
        ["experiment=early_stopping", "callbacks=early_stopping"],
        ["experiment=l1_sparsity", "penalty.l1=0.3"],
    ],
    "landscapes": [
        ["landscape=bowl", *POINT],
        ["landscape=bowl", *POINT, "landscape.start=[1,2]"],
        ["landscape=bowl", *POINT, "landscape.start=[3.5,2]"],
        ["landscape=bowl", *POINT, "model.start=[1,1]"],
        ["landscape=bowl", *POINT, "model.start=${landscape.start}"],
        ["landscape=double_well", *POINT, "data.source.noise=1", "landscape.start=[0]"],
    ],
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_job_gets_the_config_that_hydra_gives_it(family: str) -> None:
    multirun().hold_against_hydra(FAMILIES[family], first=3)


def test_jobs_of_all_kinds_may_come_in_any_order() -> None:
    jobs = [job for family in FAMILIES.values() for job in family]
    random.Random(0).shuffle(jobs)
    multirun().hold_against_hydra(jobs)


def test_jobs_have_the_config_that_hydra_gives_them_wherever_the_multirun_began() -> None:
    jobs = [[SIZES, "stop.epochs=5", f"data.batch_size={size}"] for size in (1, 20, "full")]
    multirun(SIZES, "stop.epochs=5").hold_against_hydra(jobs)


def test_one_job_does_not_share_lists_with_another() -> None:
    same = ["model.hidden=[8]"]
    first, second = multirun().composed([same, same])
    first.config["model"]["hidden"].append(9)
    first.config["stop"]["epochs"] = "changed"
    assert leaves(second.config) == leaves(multirun().config(same))


def test_hydras_own_overrides_are_not_repeated() -> None:
    (job,) = multirun().composed([["seed=1", "hydra.job.name=x"]])
    assert job.overrides == ("seed=1",)
    assert leaves(job.config) == leaves(multirun().config(["seed=1", "hydra.job.name=x"]))


@pytest.mark.parametrize(
    ("jobs", "kinds"),
    [
        ([[f"seed={seed}", f"optimizer.lr={lr}"] for seed in range(20) for lr in (1, 2)], 1),
        ([[f"optimizer={name}"] for name in ("sgd", "adam")] * 5, 1),
        ([[VALLEY, f"optimizer={name}"] for name in ("sgd", "adam")] * 3, 1),
        ([["+optimizer.foo=1", f"optimizer={name}"] for name in ("sgd", "adam")] * 2, 2),
        ([[SIZES, f"data.batch_size={size}"] for size in ("1", "20", "full")], 1),
        ([["~penalty.l1", "seed=1"], ["~penalty.l1", "seed=2"], ["seed=2"]], 2),
    ],
)
def test_hydra_composes_once_for_each_kind_of_job(
    jobs: list[list[str]], kinds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed, compose = [], hydras_loader().load_sweep_config

    def counted(master: DictConfig, overrides: list[str]) -> DictConfig:
        composed.append(overrides)
        return compose(master, overrides)

    monkeypatch.setattr(hydras_loader(), "load_sweep_config", counted)
    assert len(multirun().composed(jobs)) == len(jobs)
    assert len(composed) == kinds


def test_what_a_choice_changes_in_hydras_own_node_is_what_hydra_changes() -> None:
    loader, master = hydras_loader(), multirun().master
    parse, choices = OverridesParser.create().parse_overrides, Choices(loader, master)
    for job in FAMILIES["crossed"][:3] + FAMILIES["recipes"][:2]:
        parsed = parse(job)
        made = choices.compose(parsed, [o for o in parsed if "." in o.key_or_group])
        hydras = loader.load_sweep_config(master, job)
        for one in (made, hydras):
            one.hydra.job.override_dirname = ""  # of the values, too; the composer gives it
        assert OmegaConf.to_container(made.hydra) == OmegaConf.to_container(hydras.hydra)


# ---- mistakes


@pytest.mark.parametrize(
    "bad", ["sede=1", "optimizer=adm", "+seed=1", "~seed=7", "model@other=mlp"]
)
def test_a_job_that_cannot_be_composed_is_named(bad: str) -> None:
    jobs = [[f"seed={seed}"] for seed in range(5)]
    jobs[3] = ["seed=3", bad]
    with pytest.raises(HydraException) as hydras:
        multirun().config(jobs[3])
    made = Composer(hydras_loader(), multirun().master).compose(jobs, 10)
    assert [next(made).number for _ in range(3)] == [10, 11, 12]
    with pytest.raises(CompositionError) as ours:
        next(made)
    assert str(ours.value) == f"job 13 (seed=3 {bad})"
    assert type(ours.value.__cause__) is type(hydras.value)
    assert str(ours.value.__cause__) == str(hydras.value)


@pytest.mark.parametrize("bad", ["seed", "seed=[1", "seed={a"])
def test_an_override_that_cannot_be_read_is_named(bad: str) -> None:
    with pytest.raises(CompositionError) as error:
        multirun().composed([["seed=1"], [bad], ["seed=2"]])
    assert str(error.value) == f"job 1 ({bad})"
    assert isinstance(error.value.__cause__, HydraException)


@pytest.mark.parametrize(
    "value", ["${oc.env:NO_SUCH_VARIABLE}", "${no.such:resolver}", "x_${no.such}"]
)
def test_a_value_that_cannot_be_resolved_is_named(value: str) -> None:
    with pytest.raises(CompositionError, match=r"^job 1 ") as error:
        multirun().composed([["name=a"], [f"name={value}"]])
    with pytest.raises(UserError) as hydras:
        multirun().config([f"name={value}"])
    assert str(error.value.__cause__) == str(hydras.value.__cause__)


# ---- directories

DIRECTORY_JOBS = [
    ["seed=3", "optimizer.lr=0.5"],
    ["seed=1", "optimizer.lr=0.25"],
    ["optimizer=adam", "optimizer.lr=0.25", "name='a b'"],
]


@pytest.mark.parametrize(
    "typed",
    [
        (),
        ("hydra.sweep.subdir=job${hydra.job.num}_${hydra.job.id}",),
        ("hydra.sweep.subdir=${hydra.job.override_dirname}",),
        ("hydra.sweep.subdir=${hydra:runtime.choices.optimizer}/${optimizer.lr}-${seed}",),
        (
            "hydra.sweep.subdir=${hydra.job.override_dirname}",
            "hydra.job.config.override_dirname.exclude_keys=[seed]",
            "hydra.job.config.override_dirname.kv_sep=-",
            "hydra.job.config.override_dirname.item_sep=+",
        ),
    ],
    ids=["", "number", "dirname", "choices", "options"],
)
def test_a_job_goes_where_hydra_would_put_it(typed: tuple[str, ...]) -> None:
    for made in multirun(*typed).composed(DIRECTORY_JOBS, 7):
        assert str(made.directory) == multirun(*typed).directory(made.overrides, made.number)


# ---- what is known to differ from Hydra


@pytest.mark.parametrize("typed", [(), ("hydra.sweep.subdir=job${hydra.job.num}",)])
def test_a_value_may_be_the_number_of_its_job(typed: tuple[str, ...]) -> None:
    multirun(*typed).hold_against_hydra([["seed=${hydra:job.num}"]] * 3, first=4)


@pytest.mark.parametrize("name", ["job.num", "job.override_dirname"])
def test_a_directory_may_be_named_by_hydras_resolver(name: str) -> None:
    own = multirun(f"hydra.sweep.subdir=${{hydra:{name}}}")
    for made in own.composed([["seed=1"], ["seed=2"]], 7):
        assert str(made.directory) == own.directory(made.overrides, made.number)


@pytest.mark.parametrize(
    "jobs",
    [
        [["data.augment={shift:1}"]],
        [["stop={epochs:3}"], ["stop={steps:5}"]],
        [["callbacks.path=null"], ["callbacks.path={points:50}"]],
        [["callbacks.full_loss={every_n_steps:4}"], ["callbacks.full_loss=null"]],
    ],
)
def test_a_dictionary_is_merged(jobs: list[list[str]]) -> None:
    multirun().hold_against_hydra(jobs)


def test_an_item_of_a_list_may_be_swept() -> None:
    multirun().hold_against_hydra([["optimizer=adam", f"optimizer.betas.0={b}"] for b in (0, 0.8)])


@pytest.mark.parametrize("value", ["${no.such}", "${hydra.job.name}"])
def test_a_reference_to_nothing_is_named(value: str) -> None:
    with pytest.raises(CompositionError, match=r"^job 1 "):
        multirun().composed([["name=a"], [f"name={value}"]])


@pytest.mark.parametrize("bad", [["name=${no.such}"], list(POINT)])
def test_the_first_job_of_its_kind_is_named(bad: list[str]) -> None:
    with pytest.raises(CompositionError, match=r"^job 1 "):
        multirun().composed([["seed=1"], bad])


@pytest.mark.parametrize("bad", ["logger=null", "optimizer=1"])
def test_a_choice_that_is_no_text_is_named(bad: str) -> None:
    with pytest.raises(CompositionError, match=r"^job 1 "):
        multirun().composed([["seed=1"], [bad]])


def test_references_inside_lists_of_dictionaries_are_followed() -> None:
    multirun().hold_against_hydra([["model.hidden=[{a:${seed}}]"]])


def test_what_nothing_refers_to_is_refused_at_keys_that_are_numbers_too() -> None:
    with pytest.raises(CompositionError) as refused:
        multirun().composed([["+tuned={1:'${seed}'}"]])
    assert "tuned.1 has no effect" in str(refused.value.__cause__)


def test_jobs_may_name_their_own_directories() -> None:
    for made in multirun().composed([["hydra.sweep.subdir=a"], ["hydra.sweep.subdir=b"]]):
        typed = [f"hydra.sweep.subdir={'ab'[made.number]}"]
        assert str(made.directory) == multirun().directory(typed, made.number)
