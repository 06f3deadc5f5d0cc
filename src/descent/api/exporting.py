"""A run's model as a file for programs that know nothing of Descent."""

from __future__ import annotations

import io
import json
import logging
import os
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from descent.config.check import check, check_targets, check_values, plain
from descent.config.spelling import install, program
from descent.data.arrays import Task
from descent.data.prepare import Description
from descent.errors import ForeignError, UserError, first_line
from descent.evaluation import kept_weights, named_run, restored
from descent.files.atomic import clear_parts_of, together, write
from descent.records import document
from descent.records.run import Run

if TYPE_CHECKING:
    from descent.api.portable import Portable

log = logging.getLogger(__name__)

SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2", "state_dict": ".pt"}
NEEDED = {"onnx": ("onnx", "onnxscript")}  # of an extra


@dataclass(frozen=True)
class Export:
    """What to export, read and checked.

    Args:
        run: the run directory.
        config: the run's config.
        description: of the run's data.
        weights: `best` or `last`.
        format: a key of `SUFFIXES`.
        output: the file.
    """

    run: Run
    config: dict[str, Any]
    description: Description
    weights: str
    format: str
    output: Path


def open_export(cfg: DictConfig) -> Export:
    """Read and check everything that needs no torch.

    Raises:
        UserError: the run or the output cannot be used, or the format needs an extra.
    """
    check(cfg)
    asked = plain(cfg)
    if isinstance(asked["run"], list):
        raise UserError(
            f"run=[...] names several runs; {program('export')} takes one: run=<directory>."
        )
    run, format = named_run(asked["run"]), asked["format"]
    config = run.config()
    check_targets(config, str(run.path), asked["trust"])
    check_values(config)
    description = run.data()
    if description.task is Task.LANDSCAPE:
        raise UserError(f"{run.path} walked on a landscape, where there is nothing to predict.")
    weights = kept_weights(run, asked["checkpoint"])
    if weights != asked["checkpoint"]:
        log.info("%s has no best.ckpt; using last", run.path)
    lacking = [name for name in NEEDED.get(format, ()) if find_spec(name) is None]
    if lacking:
        raise UserError(f"format={format} needs an extra: {install('export')}")
    output = Path(asked["output"] or run.path / f"model{SUFFIXES[format]}")
    there = [path for path in (output, beside(output)) if os.path.lexists(path)]
    if there and not asked["overwrite"]:
        raise UserError(f"{there[0]} exists already; give another output, or overwrite=true.")
    if not output.absolute().parent.is_dir():
        raise UserError(f"There is no directory {output.absolute().parent} to write in.")
    return Export(run, config, description, weights, format, output)


def export(asked: Export) -> Path:
    """Write the model, and beside it what it takes and gives; return the model's file."""
    from descent.api.portable import Portable, contract

    learner = restored(asked.run, asked.config, asked.description, asked.weights)
    portable = Portable(learner.model, asked.description)
    told = json.dumps(contract(asked.description), indent=1) + "\n"
    data = packed(portable, len(asked.description.columns), asked.format, told)
    for path in (asked.output, beside(asked.output)):
        clear_parts_of(path)
    with together():
        write(asked.output, data)
        write(beside(asked.output), told)
    document.note("export", {
        "directory": asked.run.path, "checkpoint": asked.weights, "format": asked.format,
        "model": asked.output, "inputs": beside(asked.output),
    })  # fmt: skip
    log.info("%s weights of %s", asked.weights, asked.run.path)
    log.info("model     %s", asked.output)
    log.info("inputs    %s", beside(asked.output))
    return asked.output


def beside(output: Path) -> Path:
    """Return the file that says what a model takes and gives."""
    return output.with_name(f"{output.name}.json")


def packed(portable: Portable, columns: int, format: str, told: str) -> bytes:
    """Return a model as the bytes of a file.

    Args:
        portable: the model.
        columns: of its rows.
        format: a key of `SUFFIXES`.
        told: what it takes and gives, kept in the file too where the format has a place for it.

    Raises:
        ForeignError: a model of the user's own holds what the format cannot.
    """
    import torch

    if format == "state_dict":
        file = io.BytesIO()
        torch.save(dict(portable.state_dict()), file)
        return file.getvalue()
    rows = torch.zeros(2, columns, dtype=torch.float64)
    dynamic = {"x": {0: torch.export.Dim("rows")}}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(portable, (rows,), dynamic_shapes=dynamic)
            if format == "torch_export":
                file = io.BytesIO()
                torch.export.save(program, file, extra_files={"inputs.json": told})
                return file.getvalue()
            return _onnx(program, rows, told)
        except Exception as error:  # whatever the exporter could not follow
            raise ForeignError(
                f"The model cannot be exported as {format}: {first_line(error)}."
            ) from error


def _onnx(program: Any, rows: Any, told: str) -> bytes:
    import torch

    # a line for each library whose operations it would know as well
    registering = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registering.level
    registering.setLevel(logging.ERROR)
    made: Any = torch.onnx.export(
        program, (rows,), input_names=["x"], output_names=["predictions"], dynamo=True,
        verbose=False, external_data=False,
    )  # fmt: skip
    registering.setLevel(level)
    made.model.metadata_props["inputs.json"] = told
    content: bytes = made.model_proto.SerializeToString()
    return content
