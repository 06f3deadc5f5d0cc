"""Options that another overrules: each pair says so, is silent elsewhere, and tells the truth."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

import descent.cli  # noqa: F401 - registers the resolvers
from descent.config.check import check_values, flatten, plain
from descent.config.overruled import (
    EVALUATION,
    HYDRA,
    REPORT,
    TRAINING,
    Asked,
    Overruled,
    of_hydra,
    of_training,
    told,
)
from descent.records.run import Run

CONF = Path(__file__).parents[2] / "conf"
PARSER = OverridesParser.create()
TABLE = ("data=table", "data.path=rows.parquet", "data.target=y")
WALK = ("model=point", "data=landscape", "landscape=bowl")
FOLDS = ("data.folds=3",)

# What is typed, with the overruled option last, and what the sentence then says.
SAID: dict[tuple[str, ...], str] = {
    ("data.batch_size=full", "data.drop_last=true"): "data.batch_size=full: one batch takes all",
    ("data.batch_size=full", "data.order=sequential"): "data.batch_size=full: one batch takes all",
    ("data=iris", "data.scale_target=standardize"): "the target holds classes",
    ("data.fold=1",): "data.folds=null: there are no folds",
    (*FOLDS, "data.val_fraction=0.2"): "data.folds=3: a fold validates",
    ("data.val_fraction=0", "data.test_fraction=0", "data.split_seed=3"): "no rows are split off",
    (*TABLE, "data.time=sold_on", "data.split_seed=3"): "data.time=sold_on: the latest rows",
    (*TABLE, "data.features=[a]", "data.exclude=[b]"): "it names the columns to use",
    (*TABLE, "data.separator=tab"): "data.path=rows.parquet: the file says itself",
    (*TABLE, "data.encoding=latin-1"): "data.path=rows.parquet: the file says itself",
    (*TABLE, "data.header=false"): "data.path=rows.parquet: the file says itself",
    (*TABLE, "data.comment=x"): "data.path=rows.parquet: the file says itself",
    (*WALK, "data.source.noise=1"): "data.batch_size=full: over all rows the noise has mean 0",
    (*WALK, "data.source.seed=3"): "data.source.noise=0.0: it draws the noise",
    ("data.metrics=[f1]", "metrics.names=[auc]"): "data.metrics=[f1]: it says what is measured",
    ("model.hidden=[]", "model.activation=tanh"): "model.hidden=[]: there is no hidden layer",
    ("model.hidden=[]", "model.dropout=0.5"): "model.hidden=[]: there is no hidden layer",
    (*WALK, "penalty.l1=0.1"): "penalties act on weight matrices",
    (*WALK, "penalty.l2=0.1"): "penalties act on weight matrices",
    ("optimizer.momentum=0", "optimizer.dampening=0.5"): "optimizer.momentum=0: there is no",
    ("scheduler.interval=step",): "scheduler.total_iters=0: the lr stays as it is",
    ("scheduler=cosine", "+scheduler.monitor=val/loss"): "such a schedule watches no metric",
    ("scheduler=cosine", "+scheduler.mode=max"): "such a schedule watches no metric",
    ("scheduler=step", "stop.epochs=5", "scheduler.step_size=5"): "stop.epochs=5: the run ends",
    ("scheduler=step", "scheduler.interval=step", "stop.steps=9", "scheduler.step_size=9"): (
        "stop.steps=9: the run ends"
    ),
    ("scheduler=plateau", "stop.epochs=5", "scheduler.patience=3"): "stop.epochs=5: the run ends",
    ("callbacks=early_stopping", "stop.epochs=5", "callbacks.early_stopping.patience=4"): (
        "stop.epochs=5: the run ends"
    ),
    ("callbacks.full_loss.target=0.5", "stop.loss=0.1"): "callbacks.full_loss.target=0.5: it is",
    ("callbacks.full_loss=null", "callbacks.divergence.factor=9"): "there is no full loss",
    ("callbacks.full_loss=null", "callbacks.divergence.checks=9"): "there is no full loss",
    ("diagnostics=noise_scale", "callbacks.noise_scale.exact=true",
     "callbacks.noise_scale.smoothing=0.5"): "what is exact is not smoothed",
    ("logger=none", "callbacks.recorder.points=100"): "there is no logger",
    ("data.val_fraction=0", "trainer.check_val_every_n_epoch=3"): "no rows are kept for validation",
    ("data.val_fraction=0", "trainer.limit_val_batches=0.5"): "no rows are kept for validation",
    ("data.test_fraction=0", "test=true"): "no rows are kept for it",
    ("report=true",): "one of multiruns (-m)",
    ("after=there",): "one of multiruns (-m)",
    ("lesson.question=why",): "one of multiruns (-m)",
    ("lesson.measures=[step]",): "one of multiruns (-m)",
    ("trust=[mine]",): "resume=null: no run's config is read from disk",
    ("paths.sweep=there",): "one of multiruns (-m)",
}  # fmt: skip
# Those of a multirun's jobs.
SAID_OF_MANY = {
    ("callbacks.progress.every_seconds=1",): "a multirun has a line of its own",
    ("paths.run=there",): "each job goes into the multirun's directory",
}


@cache
def chosen(primary: str, *choices: str) -> Any:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(primary, overrides=list(choices), return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])


def composed(primary: str, *typed: str) -> dict[str, Any]:
    """Compose the choices that are typed, and set the values in them."""
    groups = [t for t in typed if (CONF / t.partition("=")[0]).is_dir() and "[" not in t]
    paths = [t for t in typed if t in TABLE or t.startswith("~")]
    cfg = copy.deepcopy(chosen(primary, *dict.fromkeys([*groups, *paths])))
    for text in typed:
        if text not in groups and text not in paths:
            parsed = PARSER.parse_override(text)
            OmegaConf.update(cfg, parsed.key_or_group, parsed.value(), force_add=True)
    resolved = plain(cfg)
    check_values(resolved)
    return resolved


def said(typed: tuple[str, ...], many: bool = False) -> dict[Overruled, str]:
    classes = not any(t in typed for t in (*TABLE[:1], *WALK[:1], "data=diabetes"))
    return of_training(composed("train", *typed), typed, classes, many)


def of_option(sentences: dict[Overruled, str], typed: tuple[str, ...]) -> Overruled:
    option = typed[-1].lstrip("+").partition("=")[0]
    (row,) = [row for row in sentences if row.option == option]
    return row


@pytest.mark.parametrize(
    ("typed", "many", "words"),
    [
        *((typed, False, words) for typed, words in SAID.items()),
        *((typed, True, words) for typed, words in SAID_OF_MANY.items()),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_an_option_that_another_overrules_says_so(
    typed: tuple[str, ...], many: bool, words: str
) -> None:
    sentences = said(typed, many)
    row = of_option(sentences, typed)
    shown = typed[-1].lstrip("+")
    assert sentences[row].startswith(shown + " has no effect")
    assert words in sentences[row]


def test_every_pair_has_its_line_above() -> None:
    seen = {of_option(said(typed), typed) for typed in SAID}
    seen |= {of_option(said(typed, True), typed) for typed in SAID_OF_MANY}
    assert seen == set(TRAINING)


HELD = {
    ("data.batch_size=32", "data.drop_last=true"),
    ("data=diabetes", "data.scale_target=none"),
    (*FOLDS, "data.fold=1"),
    ("optimizer.momentum=0.5", "optimizer.dampening=0.5"),
    ("optimizer.momentum=0", "optimizer.dampening=0"),
    ("scheduler.factor=0.5",),  # which torch's schedule keeps for good where it lasts for 0 steps
    (*WALK, "data.source.rows=30"),  # of which samples are counted
    ("scheduler=plateau", "scheduler.monitor=val/accuracy"),
    ("scheduler=step", "stop.epochs=5", "scheduler.step_size=4"),
    ("callbacks=early_stopping", "stop.epochs=5", "callbacks.early_stopping.patience=3"),
    ("stop.loss=0.1",),
    ("model.hidden=[3]", "model.dropout=0.5"),
    ("data=table", "data.path=rows.csv", "data.target=y", "data.separator=tab"),
}


@pytest.mark.parametrize("typed", sorted(HELD), ids=lambda typed: typed[-1])
def test_an_option_that_has_its_effect_says_nothing(typed: tuple[str, ...]) -> None:
    assert said(typed) == {}


EVALUATED: dict[str, str] = {
    "overwrite=true": "predict=null: nothing is written",
    **{
        f"data.{word}": "data.path=null: the run's own test rows are used"
        for word in (
            *("separator=tab", "decimal=comma", "thousands=dot", "encoding=latin-1", "comment=x"),
            *("header=false", "unseen=error", "missing_words=[x]", "day_first=true"),
        )
    },
}


@pytest.mark.parametrize("typed", EVALUATED)
def test_an_option_of_eval_that_is_overruled_says_so(typed: str) -> None:
    values = dict(flatten(composed("eval", "run=there", typed)))
    (sentence,) = told(EVALUATION, Asked(values)).values()
    assert EVALUATED[typed] in sentence
    with_all = {**values, "data.path": "rows.csv", "predict": "out.csv"}
    assert not told(EVALUATION, Asked(with_all))


@pytest.mark.parametrize(
    ("given", "other", "typed"),
    [("multirun", "run", "x=samples"), ("run", "multirun", "measure=step"),
     ("run", "multirun", "target=0.1")],
)  # fmt: skip
def test_an_option_of_report_that_is_overruled_says_so(given: str, other: str, typed: str) -> None:
    (sentence,) = told(REPORT, Asked(composed("report", f"{given}=there", typed))).values()
    assert sentence.startswith(f"{typed} has no effect")
    assert not told(REPORT, Asked(composed("report", f"{other}=there", typed)))


@pytest.mark.parametrize("begin", HYDRA)
def test_options_of_hydra_are_told_where_they_do_nothing(begin: str) -> None:
    many, why = HYDRA[begin]
    text = f"{begin}x=3"
    assert of_hydra([text], many) == [f"{text} has no effect: {why}"]
    assert of_hydra([text], not many) == []


SMALL = ("data=wine", "model.hidden=[6]", "stop.epochs=3", "trainer=float64", "logger=none")
# What does not train by itself, or changes what is recorded and nothing else.
ELSEWHERE = (
    *("data.time", "data.exclude", "data.separator", "data.encoding", "data.header"),
    *("data.comment", "paths.sweep", "callbacks.recorder.points"),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "typed",
    [t for t in SAID if not any(t[-1].startswith(e) for e in ELSEWHERE) and TABLE[0] not in t],
    ids=lambda typed: typed[-1],
)
def test_what_is_said_to_have_no_effect_has_none(
    typed: tuple[str, ...], train_run: Callable[..., Run]
) -> None:
    given = [word for word in SMALL if word.split("=")[0] not in {t.split("=")[0] for t in typed}]
    if WALK[0] in typed:
        given = [word for word in given if not word.startswith(("data=", "model."))]
    one, other = train_run(*given, *typed[:-1]), train_run(*given, *typed)
    for name in ("steps.csv", "epochs.csv"):
        a, b = (pl.read_csv(run.path / name, infer_schema_length=None) for run in (one, other))
        assert a.columns == b.columns
        for column in set(a.columns) - {"seconds"}:
            x, y = (t[column].cast(pl.Float64, strict=False).to_numpy() for t in (a, b))
            np.testing.assert_allclose(y, x, rtol=1e-9, atol=1e-12, err_msg=column)
    weights = [run.checkpoint("last")["state_dict"] for run in (one, other)]
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=1e-9, atol=1e-12)
