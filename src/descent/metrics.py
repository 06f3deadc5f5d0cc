"""Every metric there is: name, direction, tasks, unit and formula, said once.

Whoever has to know whether more or less of a metric is better asks here. Importable before torch:
formulas only use methods of the tensors that they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from descent.errors import UserError, did_you_mean
from descent.shapes import Float

if TYPE_CHECKING:
    from torch import Tensor

MIN, MAX, AUTO = "min", "max", "auto"
NAMES, MODE = "names", "mode"  # of the group `metrics`: its list, and what a node of it says itself
REGRESSION, CLASSIFICATION = ("regression",), ("binary", "multiclass")
TASKS = (*REGRESSION, *CLASSIFICATION)
EPSILON, BINS = 2.220446049250313e-16, 15
LOGGED = "learner/"  # before the name of what a LightningModule of the user's logs
# and how such names end beside those of our metrics: whether less is better
ENDINGS = dict.fromkeys(("error", "err", "mse", "perplexity"), True)
ENDINGS |= dict.fromkeys(("acc", "score", "auroc", "iou", "dice"), False)
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


def _mape(outputs: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean of |error| / |target|, as scikit-learn guards it from targets of 0."""
    return ((outputs - wanted).abs() / wanted.abs().clamp(min=EPSILON)).mean(dim=(1, 2))


def probabilities(outputs: Float[Tensor, "R n C"]) -> Float[Tensor, "R n K"]:
    """Return the probability of each of K classes: K is 2 where one logit is given."""
    if outputs.shape[-1] > 1:
        return outputs.softmax(dim=-1)
    import torch

    return torch.cat([(-outputs).sigmoid(), outputs.sigmoid()], dim=-1)


def _confusion(outputs: Tensor, wanted: Tensor) -> Float[Tensor, "R K K"]:
    """Return how many rows of each class (rows) were taken for each (columns), as float64."""
    import torch

    many = max(outputs.shape[-1], 2)
    pairs = wanted.reshape(-1) * many + classes(outputs)  # [R, n]
    counts = torch.zeros((len(outputs), many * many), dtype=torch.float64, device=outputs.device)
    counts.scatter_add_(1, pairs, torch.ones_like(pairs, dtype=torch.float64))
    return counts.reshape(-1, many, many)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Return part / whole, 0 where there is no whole, as scikit-learn does."""
    return part / whole.masked_fill(whole == 0, 1.0)


def _averaged(values: Float[Tensor, "R K"], counts: Float[Tensor, "R K K"]) -> Tensor:
    """Return that of the second of two classes; of more, the mean over those that occur."""
    if values.shape[1] == 2:
        return values[:, 1]
    occurs = ((counts.sum(dim=1) + counts.sum(dim=2)) > 0).to(values.dtype)
    return (values * occurs).sum(dim=1) / occurs.sum(dim=1)


def _balanced_accuracy(outputs: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean over classes of the share of their rows that is found."""
    counts = _confusion(outputs, wanted)
    there = (counts.sum(dim=2) > 0).to(counts.dtype)
    found = _share(counts.diagonal(dim1=1, dim2=2), counts.sum(dim=2))
    return (found * there).sum(dim=1) / there.sum(dim=1)


def _precision(outputs: Tensor, wanted: Tensor) -> Tensor:
    counts = _confusion(outputs, wanted)
    return _averaged(_share(counts.diagonal(dim1=1, dim2=2), counts.sum(dim=1)), counts)


def _recall(outputs: Tensor, wanted: Tensor) -> Tensor:
    counts = _confusion(outputs, wanted)
    return _averaged(_share(counts.diagonal(dim1=1, dim2=2), counts.sum(dim=2)), counts)


def _f1(outputs: Tensor, wanted: Tensor) -> Tensor:
    counts = _confusion(outputs, wanted)
    both = counts.sum(dim=1) + counts.sum(dim=2)
    return _averaged(_share(2 * counts.diagonal(dim1=1, dim2=2), both), counts)


def _one_against_the_rest(
    outputs: Tensor, wanted: Tensor, formula: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Return a ranking's figure of two classes; of more, the mean over those that can have one."""
    import torch

    wanted = wanted.reshape(-1)
    if outputs.shape[-1] == 1:
        ranked = [(outputs[..., 0], wanted == 1)]
    else:
        shares = outputs.softmax(dim=-1)
        ranked = [(shares[..., k], wanted == k) for k in range(outputs.shape[-1])]
    values = [formula(score, it) for score, it in ranked if it.any() and not it.all()]
    lost = torch.full((len(outputs),), float("nan"), dtype=outputs.dtype, device=outputs.device)
    return torch.stack(values).mean(dim=0) if values else lost


def _auc(outputs: Tensor, wanted: Tensor) -> Tensor:
    """Return the share of pairs of two classes' rows that are in order, ties counted half."""
    return _one_against_the_rest(outputs, wanted, _area)


def _area(score: Float[Tensor, "R n"], it: Tensor) -> Tensor:
    import torch

    others, its = score[:, ~it].sort(dim=1).values.contiguous(), score[:, it].contiguous()
    below = torch.searchsorted(others, its) + torch.searchsorted(others, its, right=True)
    return below.to(score.dtype).mean(dim=1) / (2 * others.shape[1])


def _average_precision(outputs: Tensor, wanted: Tensor) -> Tensor:
    return _one_against_the_rest(outputs, wanted, _mean_precision)


def _mean_precision(score: Float[Tensor, "R n"], it: Tensor) -> Tensor:
    """Return the mean over a class's rows of the precision among all rows ranked as high."""
    import torch

    its = score[:, it].sort(dim=1).values.contiguous()
    everything = score.sort(dim=1).values.contiguous()
    found = its.shape[1] - torch.searchsorted(its, its)
    ranked = everything.shape[1] - torch.searchsorted(everything, its)
    return (found.to(score.dtype) / ranked).mean(dim=1)


def _log_loss(outputs: Tensor, wanted: Tensor) -> Tensor:
    import torch

    if outputs.shape[-1] == 1:
        outputs = torch.cat([torch.zeros_like(outputs), outputs], dim=-1)
    logs = outputs.log_softmax(dim=-1)
    picked = wanted.reshape(1, -1, 1).expand(len(outputs), -1, 1)
    return -logs.gather(2, picked)[..., 0].mean(dim=1)


def _brier(outputs: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean squared error of the second class's probability, or of all of several."""
    import torch

    shares = probabilities(outputs)
    hits = torch.nn.functional.one_hot(wanted.reshape(-1), shares.shape[-1]).to(shares.dtype)
    squares = (shares - hits).square()
    return squares[..., 1].mean(dim=1) if shares.shape[-1] == 2 else squares.sum(dim=2).mean(dim=1)


def _calibration_error(outputs: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean over rows of |accuracy - confidence| in 15 bins of confidence.

    Source: Naeini, Cooper and Hauskrecht 2015, "Obtaining well calibrated probabilities".
    """
    import torch

    sure, chosen = probabilities(outputs).max(dim=-1)
    hits = (chosen == wanted.reshape(1, -1)).to(sure.dtype)
    bins = (sure * BINS).ceil().long().clamp(1, BINS) - 1
    gaps = torch.zeros((len(outputs), BINS), dtype=sure.dtype, device=sure.device)
    gaps.scatter_add_(1, bins, hits - sure)
    return gaps.abs().sum(dim=1) / sure.shape[1]


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
        usual: whether it is measured unless others are asked for.
        source: the callback that records it.
        decides: whether it looks at the predicted classes alone, which a threshold decides.
        node: how it is built, where it is not ours.
    """

    name: str
    lower: bool | None
    tasks: tuple[str, ...] = ()
    unit: str = ""
    formula: Formula | None = None
    least_rows: int = 1
    source: str | None = None
    usual: bool = True
    decides: bool = False
    node: Mapping[str, Any] | None = None

    @property
    def is_of_outputs(self) -> bool:
        """Whether validation and test make it of outputs and targets."""
        return self.formula is not None or self.node is not None

    @property
    def mode(self) -> str | None:
        """`min`, `max`, or None where neither is better."""
        return None if self.lower is None else MIN if self.lower else MAX


def _asked(
    name: str, lower: bool, formula: Formula, unit: str = "share", tasks: tuple[str, ...] = (),
    decides: bool = False,
) -> Metric:  # fmt: skip
    """Return a metric that is measured where it is asked for."""
    tasks = tasks or CLASSIFICATION
    return Metric(name, lower, tasks, unit, formula, usual=False, decides=decides)


def _diagnostic(name: str, callback: str, lower: bool | None = None) -> Metric:
    return Metric(f"diagnostics/{name}", lower, source=f"descent.callbacks.{callback}")


METRICS = {
    metric.name: metric
    for metric in (
        Metric("loss", True, TASKS),
        Metric("full_loss", True, source="descent.callbacks.full_loss.FullLoss"),
        Metric("accuracy", False, CLASSIFICATION, "share", _accuracy, decides=True),
        Metric("rmse", True, REGRESSION, "target", _rmse),
        Metric("mae", True, REGRESSION, "target", _mae),
        Metric("r2", False, REGRESSION, "", _r2, least_rows=2),
        _asked("mape", True, _mape, tasks=REGRESSION),
        _asked("balanced_accuracy", False, _balanced_accuracy, decides=True),
        _asked("f1", False, _f1, decides=True),
        _asked("precision", False, _precision, decides=True),
        _asked("recall", False, _recall, decides=True),
        _asked("auc", False, _auc),
        _asked("average_precision", False, _average_precision),
        _asked("log_loss", True, _log_loss, "nats"),
        _asked("brier", True, _brier),
        _asked("calibration_error", True, _calibration_error),
        _diagnostic("distance", "optimum.Optimum", lower=True),
        _diagnostic("excess_loss", "optimum.Optimum", lower=True),
        _diagnostic("sharpness", "sharpness.Sharpness"),
        _diagnostic("stability", "sharpness.Sharpness"),
        _diagnostic("preconditioned_sharpness", "sharpness.Sharpness"),
        _diagnostic("noise_scale", "noise_scale.NoiseScale"),
        _diagnostic("step_noise", "step_noise.StepNoise"),
        *(_diagnostic(n, "weights.Weights") for n in ("weights_l1", "weights_l2", "near_zero")),
    )
}
SPLITS = ("train", "val", "test")

# those that configs define by `_target_`, as the last one of a name did
OWN: dict[str, Metric] = {}


def own_nodes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nodes under `metrics` that say how a metric is built, by name."""
    group = config.get("metrics") or {}
    return {k: node for k, node in group.items() if k != NAMES and isinstance(node, Mapping)}


def measured(group: Mapping[str, Any]) -> list[str]:
    """Return the names of what is measured beside the usual: those listed, and one's own."""
    return [*(group.get(NAMES) or ()), *own_nodes({"metrics": group})]


def take_own(config: Mapping[str, Any]) -> None:
    """Let the metrics that a config defines be known by their names, as ours are."""
    for name, node in own_nodes(config).items():
        mode = node.get(MODE)
        OWN[name] = Metric(
            name, None if mode is None else mode == MIN, TASKS, usual=False, node=node
        )


def metric_named(name: str) -> Metric | None:
    """Return what `val/rmse`, `best/val/rmse` or `rmse` is; None if there is no such metric."""
    bare = name.removeprefix("best/")
    if bare.startswith(LOGGED):
        ways = {m.name: m.lower for m in METRICS.values() if m.tasks} | ENDINGS
        words = bare.lower().replace("/", "_")
        return Metric(bare, next((ways[w] for w in ways if words.endswith(f"_{w}")), None))
    split, _, rest = bare.partition("/")
    name = rest if split in SPLITS else bare
    return METRICS.get(name) or OWN.get(name)


def of_task(task: str, rows: int, asked: Sequence[str] = ()) -> list[Metric]:
    """Return the metrics of a split of so many rows, but for the loss.

    Args:
        task: of the data.
        rows: of the split.
        asked: names to measure beside the usual ones; `all` for all that the task has.
    """
    found = [m for m in METRICS.values() if task in m.tasks and m.is_of_outputs]
    return [
        *(
            metric
            for metric in found
            if rows >= metric.least_rows
            and (metric.usual or metric.name in asked or "all" in asked)
        ),
        *(OWN[name] for name in asked if name in OWN),
    ]


def check_asked(asked: Sequence[str], task: str) -> None:
    """Refuse metrics that there are not, or not of this task.

    Raises:
        UserError: of the first of them.
    """
    known = [m.name for m in METRICS.values() if task in m.tasks and m.is_of_outputs]
    for name in asked:
        if name != "all" and name not in known and name not in OWN:
            hint = did_you_mean(name, known) or f"; there are {', '.join(known)}, or all."
            raise UserError(f"metrics.names=[{name}] is no metric of a {task} task{hint}")


# ---- directions


# What `optimized_mode` said of metrics that have no direction of their own, as the last config did.
ASKED: dict[str, str] = {}
OPTIMIZED = ("optimized_metric", "optimized_mode")  # the options


def take_mode(config: Mapping[str, Any]) -> None:
    """Let all who compare by a config's metric do so in the direction that it gives."""
    name, mode = (config.get(option, AUTO) for option in OPTIMIZED)
    ASKED.pop(name, None)
    if mode != AUTO:
        ASKED[name] = mode


def mode_of(name: str) -> str | None:
    """Return `min` or `max`: a metric's own, else the one that was asked for; None for neither."""
    metric = metric_named(name)
    return (metric.mode if metric else None) or ASKED.get(name.removeprefix("best/"))


def lower_is_better(name: str) -> bool:
    """Whether less of a metric is better.

    Raises:
        UserError: its direction is not known.
    """
    mode = mode_of(name)
    if mode is None:
        raise UserError(f"Nothing says whether more or less of '{name}' is better{_near(name)}")
    return mode == MIN


def direction(name: str, mode: str = AUTO) -> str:
    """Return `minimize` or `maximize`, as searches call it."""
    if mode != AUTO and mode_of(name) is None:
        return "minimize" if mode == MIN else "maximize"
    return "minimize" if lower_is_better(name) else "maximize"


def settled_mode(
    monitor: str, mode: str = AUTO, where: str = "", options: tuple[str, str] = ("monitor", "mode")
) -> str:
    """Return `min` or `max` for who watches a metric.

    Args:
        monitor: the metric.
        mode: what was asked for; `auto` for the metric's own direction.
        where: the node in the config, for sentences.
        options: the names of both there.

    Raises:
        UserError: the mode contradicts the metric, or nothing says which way is better.
    """
    given, asked = (f"{where}.{option}" if where else option for option in options)
    own = mode_of(monitor)
    if mode not in (MIN, MAX, AUTO):
        raise UserError(f"{asked}={mode} does not fit: it must be auto, min or max.")
    if own is None and mode == AUTO:
        raise UserError(
            f"Nothing says whether more or less of {given}={monitor} is better; give {asked}=min "
            f"or {asked}=max."
        )
    if own is not None and mode not in (AUTO, own):
        way = "lower" if own == MIN else "higher"
        raise UserError(
            f"{asked}={mode} contradicts {given}={monitor}, which is better the {way} it is; leave "
            f"{asked} at auto."
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
    asked = config["data"].get("metrics") or ()
    sources = {node["_target_"] for _, node in _nodes(config)}
    names = [
        f"{split}/{name}"
        for split in ("val", "test")
        if rows[split] and (split == "val" or config["test"])
        for name in ("loss", *(m.name for m in of_task(task, rows[split], asked)))
    ]
    training = [m.name for m in METRICS.values() if m.source in sources]
    own = [f"{LOGGED}<what it logs>"] if config.get("learner") else []
    return ["train/loss", *(n if "/" in n else f"train/{n}" for n in training), *names, *own]


def check_metrics(config: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Refuse a metric that there is not or that nobody records, and a direction not its own.

    Args:
        config: resolved.
        data: as described in `data.json`: the `task`, and `rows` by split.

    Raises:
        UserError: of the first that is asked for, `optimized_metric`, and the monitors of
            callbacks and scheduler.
    """
    check_asked(config["data"].get("metrics") or (), data["task"])
    rows = data["rows"]
    known = recorded(config, data["task"], rows)
    if config.get("learner"):  # which of them it does log, its first step tells
        known += [metric for _, metric in watched(config) if metric.startswith(LOGGED)]
    name = config["optimized_metric"]
    if name not in known:
        raise UserError(f"optimized_metric={name} is not recorded{_instead(name, known, rows)}")
    ASKED.pop(name, None)
    settled_mode(name, config.get(OPTIMIZED[1], AUTO), options=OPTIMIZED)
    take_mode(config)
    during = [name for name in known if not name.startswith("test/")]
    for where, node in _nodes(config, monitoring=True):
        _check_monitor(where, node, during, rows, _has_foreign_code(config))


def watched(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what options watch, and the metrics they name."""
    yield "optimized_metric", str(config["optimized_metric"])
    for where, node in _nodes(config, monitoring=True):
        yield f"{where}.monitor", str(node["monitor"])


def _check_monitor(
    where: str, node: Mapping[str, Any], known: list[str], rows: Mapping[str, int], foreign: bool
) -> None:
    name, mode = str(node["monitor"]), node.get("mode", AUTO)
    if where == "callbacks.checkpoint" and name == "val/loss" and not rows["val"]:
        return  # the default, which then keeps the last weights alone
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
