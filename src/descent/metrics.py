"""Every metric there is: name, direction, tasks, unit and formula, said once.

Whoever has to know whether more or less of a metric is better asks here. Importable before torch:
formulas only use methods of the tensors that they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from descent.errors import UserError, did_you_mean
from descent.shapes import Float

if TYPE_CHECKING:
    from torch import Tensor

MIN, MAX, AUTO = "min", "max", "auto"
REGRESSION, CLASSIFICATION = ("regression",), ("binary", "multiclass")
TASKS = (*REGRESSION, *CLASSIFICATION)
OURS = ("descent.", "torch.", "lightning.")  # code that logs no metric of its own

Formula = Callable[["Float[Tensor, 'R n C']", "Tensor"], "Float[Tensor, ' R']"]


# ---- formulas: outputs [R, n, C] and targets [n, C], or classes [n], to one value a run [R]


def classes(outputs: Float[Tensor, "R n C"]) -> Tensor:
    """Return the predicted classes [R, n]: the largest of several logits, or one logit's sign."""
    return (outputs[..., 0] > 0).long() if outputs.shape[-1] == 1 else outputs.argmax(dim=-1)


def _accuracy(outputs: Tensor, wanted: Tensor) -> Tensor:
    return (classes(outputs) == wanted.reshape(-1)).double().mean(dim=1)


def _rmse(outputs: Tensor, wanted: Tensor) -> Tensor:
    return (outputs - wanted).square().mean(dim=(1, 2)).sqrt()


def _mae(outputs: Tensor, wanted: Tensor) -> Tensor:
    return (outputs - wanted).abs().mean(dim=(1, 2))


def _r2(outputs: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean over targets of 1 - residual / total; a target that is constant has 0 or 1.

    As scikit-learn's `r2_score` defines it.
    """
    residual = (outputs - wanted).square().sum(dim=1)  # [R, C]
    total = (wanted - wanted.mean(dim=0)).square().sum(dim=0)  # [C]
    constant = wanted.amax(dim=0) == wanted.amin(dim=0)
    shares = 1 - residual / total.masked_fill(constant, 1.0)
    exact = (residual == 0).to(shares.dtype) + 0 * residual  # NaN for outputs that are lost
    return shares.where(~constant, exact).mean(dim=1)


# ---- the registry


@dataclass(frozen=True)
class Metric:
    """A kind of figure.

    Args:
        name: without the split; diagnostics have a prefix of their own.
        lower: whether less is better; None where neither is.
        tasks: of which validation and test record it; none for what training or others measure.
        unit: `nats`, `target` (the target's own), `share` (0 to 1), or empty.
        formula: from outputs and targets; None where it is not made of them alone.
        least_rows: that it can be told of.
        source: the callback that records it.
    """

    name: str
    lower: bool | None
    tasks: tuple[str, ...] = ()
    unit: str = ""
    formula: Formula | None = None
    least_rows: int = 1
    source: str | None = None

    @property
    def mode(self) -> str | None:
        """`min`, `max`, or None where neither is better."""
        return None if self.lower is None else MIN if self.lower else MAX


def _diagnostic(name: str, callback: str, lower: bool | None = None) -> Metric:
    return Metric(f"diagnostics/{name}", lower, source=f"descent.callbacks.{callback}")


METRICS = {
    metric.name: metric
    for metric in (
        Metric("loss", True, TASKS),
        Metric("full_loss", True, source="descent.callbacks.full_loss.FullLoss"),
        Metric("accuracy", False, CLASSIFICATION, "share", _accuracy),
        Metric("rmse", True, REGRESSION, "target", _rmse),
        Metric("mae", True, REGRESSION, "target", _mae),
        Metric("r2", False, REGRESSION, "", _r2, least_rows=2),
        # directions alone, of what is computed nowhere yet
        *(Metric(name, False) for name in ("balanced_accuracy", "f1", "precision", "recall")),
        *(Metric(name, False) for name in ("auc", "average_precision")),
        *(Metric(name, True) for name in ("log_loss", "brier", "calibration_error")),
        _diagnostic("distance", "optimum.Optimum", lower=True),
        _diagnostic("excess_loss", "optimum.Optimum", lower=True),
        _diagnostic("sharpness", "sharpness.Sharpness"),
        _diagnostic("stability", "sharpness.Sharpness"),
        _diagnostic("noise_scale", "noise_scale.NoiseScale"),
        _diagnostic("step_noise", "step_noise.StepNoise"),
        *(_diagnostic(n, "weights.Weights") for n in ("weights_l1", "weights_l2", "near_zero")),
    )
}
SPLITS = ("train", "val", "test")


def metric_named(name: str) -> Metric | None:
    """Return what `val/rmse`, `best/val/rmse` or `rmse` is; None if there is no such metric."""
    bare = name.removeprefix("best/")
    split, _, rest = bare.partition("/")
    return METRICS.get(rest if split in SPLITS else bare)


def of_task(task: str, rows: int) -> list[Metric]:
    """Return the metrics of a split of so many rows, but for the loss."""
    found = [m for m in METRICS.values() if task in m.tasks and m.formula is not None]
    return [metric for metric in found if rows >= metric.least_rows]


# ---- directions


def lower_is_better(name: str) -> bool:
    """Whether less of a metric is better.

    Raises:
        UserError: its direction is not known.
    """
    metric = metric_named(name)
    if metric is None or metric.lower is None:
        raise UserError(f"Nothing says whether more or less of '{name}' is better{_near(name)}")
    return metric.lower


def direction(name: str) -> str:
    """Return `minimize` or `maximize`, as searches call it."""
    return "minimize" if lower_is_better(name) else "maximize"


def settled_mode(monitor: str, mode: str = AUTO, where: str = "") -> str:
    """Return `min` or `max` for who watches a metric.

    Args:
        monitor: the metric.
        mode: what was asked for; `auto` for the metric's own direction.
        where: the node in the config, for sentences.

    Raises:
        UserError: the mode contradicts the metric, or nothing says which way is better.
    """
    metric, node = metric_named(monitor), f"{where}." if where else ""
    own = metric.mode if metric else None
    if mode not in (MIN, MAX, AUTO):
        raise UserError(f"{node}mode={mode} does not fit: it must be auto, min or max.")
    if own is None and mode == AUTO:
        raise UserError(
            f"Nothing says whether more or less of {node}monitor={monitor} is better; give "
            f"{node}mode=min or {node}mode=max."
        )
    if own is not None and mode not in (AUTO, own):
        way = "lower" if own == MIN else "higher"
        raise UserError(
            f"{node}mode={mode} contradicts {node}monitor={monitor}, which is better the {way} it "
            f"is; leave {node}mode at auto."
        )
    return mode if own is None else own


def _near(name: str) -> str:
    return did_you_mean(name, [f"val/{n}" for n, m in METRICS.items() if m.tasks]) or "."


# ---- what a run records


def default_metric(val_fraction: float, full_loss: Any) -> str:
    """Return what a sweep optimizes unless told otherwise.

    Args:
        val_fraction: share of the rows kept for validation.
        full_loss: the callback's node; None where it was taken out.
    """
    return "val/loss" if val_fraction else "train/full_loss" if full_loss else "train/loss"


def recorded(config: Mapping[str, Any], task: str, rows: Mapping[str, int]) -> list[str]:
    """Return every metric that a run of this config records, validation's first.

    Args:
        config: resolved.
        task: of its data.
        rows: by split.
    """
    sources = {node["_target_"] for _, node in _nodes(config)}
    names = [
        f"{split}/{name}"
        for split in ("val", "test")
        if rows[split] and (split == "val" or config["test"])
        for name in ("loss", *(metric.name for metric in of_task(task, rows[split])))
    ]
    training = [m.name for m in METRICS.values() if m.source in sources]
    return ["train/loss", *(n if "/" in n else f"train/{n}" for n in training), *names]


def check_metrics(config: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Refuse a metric that nobody records, and a direction that is not its own.

    Args:
        config: resolved.
        data: as described in `data.json`: the `task`, and `rows` by split.

    Raises:
        UserError: of the first of `optimized_metric` and the monitors of callbacks and scheduler.
    """
    rows = data["rows"]
    known = recorded(config, data["task"], rows)
    name = config["optimized_metric"]
    if name not in known:
        raise UserError(f"optimized_metric={name} is not recorded{_instead(name, known, rows)}")
    lower_is_better(name)
    during = [name for name in known if not name.startswith("test/")]
    for where, node in _nodes(config, monitoring=True):
        _check_monitor(where, node, during, rows, _has_foreign_code(config))


def _check_monitor(
    where: str, node: Mapping[str, Any], known: list[str], rows: Mapping[str, int], foreign: bool
) -> None:
    name, mode = str(node["monitor"]), node.get("mode", AUTO)
    kept = where == "callbacks.checkpoint" and name == "val/loss" and not rows["val"]
    if kept:  # the default, which then keeps the last weights alone
        return
    own = foreign and metric_named(name) is None and mode in (MIN, MAX)
    if name not in known and not own:
        hint = _instead(name, known, rows)
        more = f" A metric of your own needs {where}.mode=min or max." if foreign else ""
        raise UserError(f"{where}.monitor={name} is not recorded{hint}{more}")
    settled_mode(name, mode, where)


def _instead(name: str, known: list[str], rows: Mapping[str, int]) -> str:
    """Return what to write instead of a metric that is not recorded."""
    split = name.partition("/")[0]
    there = f"This task records {', '.join(known)}."
    purpose = {"val": "validation", "test": "the test"}.get(split)
    if purpose and not rows[split]:
        return f": no rows are kept for {purpose} (data.{split}_fraction=0). {there}"
    if metric_named(name) is METRICS["full_loss"]:
        return f": callbacks.full_loss was taken out. {there}"
    return f"{did_you_mean(name, known) or '.'} {there}"


def _nodes(
    config: Mapping[str, Any], monitoring: bool = False
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield callbacks (and the scheduler, if it watches a metric) with their keys."""
    nodes = {f"callbacks.{name}": node for name, node in (config["callbacks"] or {}).items()}
    if monitoring:
        nodes["scheduler"] = config["scheduler"]
    for where, node in nodes.items():
        if node and "_target_" in node and (not monitoring or node.get("monitor") is not None):
            yield where, node


def _has_foreign_code(config: Mapping[str, Any]) -> bool:
    targets = [node["_target_"] for _, node in _nodes(config)]
    targets.append(config["model"].get("_target_", OURS[0]))
    return not all(str(target).startswith(OURS) for target in targets)
