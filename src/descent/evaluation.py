"""After a run: its test metrics again, or predictions for new rows, from its directory alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

from descent.config.check import check, check_targets, check_values, flatten, plain
from descent.config.machine import cores
from descent.config.overruled import EVALUATION, Asked, told
from descent.config.spelling import command, program
from descent.data.arrays import Arrays, Task
from descent.data.columns import meaning, number_style
from descent.data.encoding import encode
from descent.data.layout import Dialect
from descent.data.prepare import Description, Prepared, prepare
from descent.data.reading import Table, read_table
from descent.data.row_weights import row_weights
from descent.data.table import row_weight
from descent.data.table_targets import as_dates, encode_targets
from descent.errors import UserError, first_line
from descent.files.atomic import clear_parts_of, replacing
from descent.records import document
from descent.records.run import BEST, LAST, Run

if TYPE_CHECKING:
    import polars as pl
    from torch import Tensor, nn

    from descent.engine.learner import Learner

log = logging.getLogger(__name__)

WRITERS = (".csv", ".parquet", ".arrow")


@dataclass(frozen=True)
class Evaluation:
    """What to evaluate: a run, the weights, and either its own test rows or a new table.

    Args:
        run: the run directory.
        config: the run's config.
        description: of the run's data.
        prepared: the data to evaluate; a new table is all `test`.
        weights: `best` or `last`.
        table: the new table, if there is one.
        known: whether it says what is to be predicted, so that there are metrics.
        predict: where its predictions go.
        accelerator: Lightning's word for the device.
    """

    run: Run
    config: dict[str, Any]
    description: Description
    prepared: Prepared
    weights: str
    table: pl.DataFrame | None
    known: bool
    predict: Path | None
    accelerator: str


def open_evaluation(cfg: DictConfig) -> Evaluation:
    """Read and check everything that needs no torch.

    Raises:
        UserError: the run directory, the table or the output cannot be used.
    """
    check(cfg)
    asked = plain(cfg)
    if isinstance(asked["run"], list):
        raise UserError(
            f"run=[...] names several runs; {program('eval')} takes one: run=<directory>."
        )
    for words in told(EVALUATION, Asked(dict(flatten(asked)))).values():
        log.info("note: %s.", words)
    run = named_run(asked["run"])
    config = run.config()
    check_targets(config, str(run.path), asked["trust"])
    check_values(config)
    description = run.data()
    if description.task is Task.LANDSCAPE:
        raise UserError(
            f"{run.path} walked on a landscape, where there is nothing to test or to predict; "
            f"{command('report')} draws it."
        )
    weights = kept_weights(run, asked["checkpoint"])
    if weights != asked["checkpoint"]:
        log.info(
            "%s has no best.ckpt (no validation rows, or it ended early); using last", run.path
        )
    predict = _output(asked["predict"], asked["overwrite"])
    path = asked["data"]["path"]
    if path is None and predict is not None:
        raise UserError("predict=... needs rows to predict for; give data.path=... as well.")
    if path is None:
        prepared, table, known = _own_rows(run, config, description), None, True
    else:
        read = read_table(path, _dialect(asked["data"], config["data"]))
        unseen = asked["data"]["unseen"] or config["data"].get("unseen", "other")
        prepared, known = new_rows(read, description, unseen)
        table = read.frame
        _check_names(table, description, path, predict)
    return Evaluation(
        run, config, description, prepared, weights, table, known, predict, asked["accelerator"]
    )


def kept_weights(run: Run, asked: str = BEST) -> str:
    """Return which weights to use: the best as asked, or the last where no best were kept."""
    return LAST if asked == BEST and not run.checkpoint_path(BEST).exists() else asked


def named_run(directory: str) -> Run:
    """Return the run of a directory; of a multirun's, the best run of its best setting."""
    from descent.analysis.best import run_meant

    path, sentence = run_meant(Path(directory))
    if sentence is not None:
        log.info("%s", sentence)
    return Run(path)


def _dialect(asked: Mapping[str, Any], ran: Mapping[str, Any]) -> Dialect:
    """Return how a new table is written: as asked, else found out anew.

    What a word means, and whether days come first, does not change from file to file.
    """
    given = {f.name: asked[f.name] for f in fields(Dialect) if f.name in asked}
    for name in ("missing_words", "day_first"):
        if given.get(name) is None:
            given[name] = ran.get(name)
    return Dialect(**given)


def _check_names(
    table: pl.DataFrame, description: Description, path: str, predict: Path | None
) -> None:
    """Refuse to write predictions over columns of the user's."""
    taken = [name for name in _written(description) if name in table.columns]
    if predict is not None and taken:
        raise UserError(
            f"{path} has a column '{taken[0]}' already, which predictions would overwrite; rename "
            "or remove it."
        )


def _written(description: Description) -> list[str]:
    """Return the columns that predictions add to a table."""
    names = [f"predicted_{name}" for name in description.target_names]
    return [*names, *(f"probability_{c}" for c in description.classes)]


def _output(name: str | None, overwrite: bool) -> Path | None:
    if name is None:
        return None
    path = Path(name)
    if path.suffix not in WRITERS:
        raise UserError(f"predict={path} has none of the known suffixes {', '.join(WRITERS)}.")
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists already; give another name, or overwrite=true.")
    if not path.absolute().parent.is_dir():
        raise UserError(f"There is no directory {path.absolute().parent} to write {path.name} in.")
    return path


def _own_rows(run: Run, config: dict[str, Any], description: Description) -> Prepared:
    prepared = prepare(config["data"])
    if prepared.describe()["fingerprint"] != description.fingerprint:
        raise UserError(
            f"The data have changed since {run.path} was trained, so its metrics cannot be "
            "repeated; use data.path=... to evaluate on other rows."
        )
    if not len(prepared.rows["test"]):
        raise UserError(
            f"{run.path} kept no test rows (data.test_fraction=0); give data.path=... to evaluate "
            "on other rows."
        )
    return prepared


def new_rows(read: Table, description: Description, unseen: str) -> tuple[Prepared, bool]:
    """Return a new table's rows, all `test`, and whether it says what is to be predicted."""
    rows = read.frame.height
    if rows == 0:
        raise UserError(f"{read.path} has no rows below its header; there is nothing to predict.")
    features, notes = encode(read, description.columns, unseen)
    for note in (*read.notes, *notes):
        log.info("%s: %s", read.path, note)
    names = description.target_names
    style = number_style(read, read.frame.columns)
    targets, why_not = encode_targets(read, names, description.classes, style, description.dated)
    if targets is not None and description.target_scaler.log and targets.min() <= 0:
        targets, why_not = None, f"target '{names[0]}' is not above 0 in every row"
    known = targets is not None
    if targets is None:
        log.info("%s: %s, so no metrics", read.path, why_not)
        # a class, and a number with a logarithm, which nothing is compared with
        shape = (rows,) if len(names) == 1 else (rows, len(names))
        targets = np.ones(shape, np.int64 if description.classes else np.float64)
    everything = np.arange(rows)
    splits = {"train": everything[:0], "val": everything[:0], "test": everything}
    arrays = Arrays(
        features, targets, description.task, description.columns, description.target,
        description.classes, target_names=description.targets,
    )  # fmt: skip
    weights = None
    if description.weighted:
        weights = _new_weights(read, replace(arrays, weight=description.weight), description, known)
    return Prepared(
        arrays,
        splits,
        description.scaler,
        description.target_scaler,
        batch_size=1,
        weights=weights,
    ), known


def _new_weights(read: Table, arrays: Arrays, description: Description, known: bool) -> np.ndarray:
    """Return the weights of a new table's rows, 1 where it has no column of them."""
    name, rows = description.weight, read.frame.height
    if name in read.frame.columns and known:
        style = number_style(read, read.frame.columns)
        arrays = replace(arrays, weights=row_weight(meaning(read, name, style), read.path))
    elif name is not None and known:
        log.info("%s: no column '%s', so every row counts the same in the loss", read.path, name)
    made = row_weights(arrays, {"test": np.arange(rows)}, description.class_weights, [])
    return np.ones(rows) if made is None else made


def evaluate(evaluation: Evaluation) -> dict[str, float]:
    """Test, and predict if asked; print what comes out.

    Returns:
        The test metrics; empty for new rows without the target.
    """
    import torch

    from descent.assembly import bare_trainer
    from descent.data.module import DataModule

    run, config = evaluation.run, evaluation.config
    # as many as then, but never more than this machine has
    torch.set_num_threads(min(run.result().get("threads", 1), cores()))
    trainer = bare_trainer(evaluation.accelerator, config["trainer"]["precision"])
    rows = {name: len(rows) for name, rows in evaluation.prepared.rows.items()}
    learner = restored(run, config, evaluation.description, evaluation.weights, rows)
    data = DataModule(evaluation.prepared)
    known = evaluation.known
    metrics: dict[str, float] = {}
    if known:
        trainer.test(learner, datamodule=data, verbose=False)
        metrics = {name: float(values[0]) for name, values in learner.measured.items()}
        _print_metrics(evaluation, metrics)
    if evaluation.predict is not None:
        if not known:  # otherwise the test has made the tensors
            data.trainer = trainer
            data.setup()
        learner.to(trainer.strategy.root_device)
        outputs = outputs_of(learner.model, data.tensors["test"][0])
        _write(evaluation, outputs)
    elif not known:
        log.info("predict=out.csv writes predictions")
    document.note("evaluation", {
        "directory": run.path, "checkpoint": evaluation.weights, "metrics": metrics,
        "rows": len(evaluation.prepared.rows["test"]), "predictions": evaluation.predict,
    })  # fmt: skip
    return metrics


def restored(
    run: Run,
    config: Mapping[str, Any],
    description: Description,
    weights: str,
    rows: Mapping[str, int] | None = None,
) -> Learner:
    """Return the learner of a run with the weights of a checkpoint.

    Args:
        run: the run directory.
        config: its config, checked.
        description: of its data.
        weights: `best` or `last`.
        rows: rows by split to be evaluated, where they are not the run's own.

    Raises:
        UserError: the checkpoint is missing, damaged, or does not fit the run's own model.
    """
    import torch

    from descent.assembly import build_learner
    from descent.engine.blueprint import build_model
    from descent.engine.continuing import read_weights

    model = build_model(config, description)
    state = read_weights(run, weights, model)
    device = torch.device("cpu")  # its trainer moves it
    learner = build_learner([config], description, [model], device, rows=rows, trains=False)
    try:
        learner.load_state_dict(state["state_dict"])
    except (KeyError, RuntimeError, TypeError, AttributeError, ValueError) as error:
        first = first_line(error).rstrip(":")
        raise UserError(
            f"checkpoints/{weights}.ckpt of {run.path} does not fit the run's own model: {first}."
        ) from None
    threshold = run.result().get("threshold")
    if threshold is not None:
        learner.evaluator.thresholds = torch.tensor([threshold], dtype=torch.float64)
    return learner


def outputs_of(model: nn.Module, x: Tensor) -> Tensor:
    """Return what a model says of scaled rows [N, F]: outputs [N, C] in float64."""
    import torch

    from descent.data.tensors import Chunks

    model.eval()
    with torch.no_grad():
        return torch.cat([model(xb) for xb, _ in Chunks(x, x)]).double().cpu()


def predictions(description: Description, outputs: Tensor) -> np.ndarray:
    """Return outputs in the targets' own units [N, C], or the probabilities of the classes [N, K].

    Raises:
        UserError: one of them is no finite number.
    """
    if description.task is Task.REGRESSION:
        values = description.target_scaler.undo(outputs.numpy())
    elif description.task is Task.BINARY:
        p = outputs.sigmoid().numpy()
        values = np.hstack([1 - p, p])
    else:
        values = outputs.softmax(dim=1).numpy()
    _check_predictions(values)
    return values


def _write(evaluation: Evaluation, outputs: Tensor) -> None:
    """Write the table with the predictions beside it."""
    import polars as pl

    description, table, path = evaluation.description, evaluation.table, evaluation.predict
    assert table is not None
    assert path is not None
    names, values = _written(description), predictions(description, outputs)
    if description.task is Task.REGRESSION:
        columns = dict(zip(names, values.T, strict=True))
    else:
        threshold = evaluation.run.result().get("threshold")
        chosen = np.array(description.classes)[description.choose(values, threshold)]
        columns = dict(zip(names, [chosen, *values.T], strict=True))
    made = {key: pl.Series(values) for key, values in columns.items()}
    if description.dated:
        made = {key: as_dates(values) for key, values in made.items()}
    out = table.with_columns(**made)
    clear_parts_of(path)
    with replacing(path) as file:
        if path.suffix == ".csv":
            out.write_csv(file)
        elif path.suffix == ".parquet":
            out.write_parquet(file)
        else:
            out.write_ipc(file)
    log.info("%s: %s rows with %s", path, f"{out.height:,}", ", ".join(columns))


def _check_predictions(values: np.ndarray) -> None:
    odd = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(odd):
        raise UserError(
            f"The prediction for row {odd[0] + 1} is {values[odd[0]][0]:g} ({len(odd)} such rows): "
            "its values are too far from those of training; nothing was written."
        )


def _print_metrics(evaluation: Evaluation, metrics: dict[str, float]) -> None:
    rows = len(evaluation.prepared.rows["test"])
    log.info("%s weights of %s on %s rows", evaluation.weights, evaluation.run.path, f"{rows:,}")
    recorded = evaluation.run.result().get("metrics", {}) if evaluation.table is None else {}
    for name, value in metrics.items():
        then = recorded.get(name)
        note = "" if then is None else ", as recorded" if then == value else f", recorded {then!r}"
        log.info("%-14s %r%s", name, value, note)
