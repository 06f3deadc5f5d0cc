"""Config -> model, without Lightning: training and pictures build the same one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from descent.config import build
from descent.data.prepare import Description
from descent.data.tensors import DTYPES
from descent.errors import UserError
from descent.seeds import INIT, stream_seed


def build_model(config: Mapping[str, Any], description: Description) -> nn.Module:
    """Build the model from its config node, weights from the init stream.

    `in_features` and `out_features` are offered to whatever takes them by name.
    """
    torch.manual_seed(stream_seed(config["seed"], INIT))
    features = sum(len(column.features) for column in description.columns)
    sizes = {"in_features": features, "out_features": description.outputs}
    model = build(config["model"], "model", offer=sizes)
    if not isinstance(model, nn.Module):
        raise UserError(f"model._target_ makes a {type(model).__name__}, not a torch.nn.Module.")
    if not any(p.requires_grad for p in model.parameters()):
        raise UserError("The model has no parameters to train.")
    # converted now and not by the trainer, which loads weights first: they would be rounded
    dtype = DTYPES.get(config["trainer"]["precision"], torch.float32)
    model = model.to(dtype)
    _check_outputs(model, torch.zeros(2, features, dtype=dtype), description.outputs)
    return model


@torch.no_grad()
def _check_outputs(model: nn.Module, x: Tensor, outputs: int) -> None:
    """Refuse a model whose outputs a loss would broadcast instead of compare."""
    shape = tuple(model.eval()(x).shape)
    model.train()
    if shape != (len(x), outputs):
        raise UserError(
            f"The model turns {len(x)} rows into outputs of shape {shape}, but the data need "
            f"{(len(x), outputs)}; out_features says how many columns."
        )
