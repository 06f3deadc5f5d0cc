"""Small random shifts and rotations of image rows, on the device they train on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from descent.data.scale import Scaler
from descent.shapes import Float


def warp(
    images: Float[Tensor, "n H W"],
    right: Float[Tensor, " n"],
    down: Float[Tensor, " n"],
    degrees: Float[Tensor, " n"],
) -> Float[Tensor, "n H W"]:
    """Turn each image about its centre, then shift it; bilinear, zeros come in from outside.

    Args:
        images: grey values, 0 for background.
        right: pixels to the right.
        down: pixels downwards.
        degrees: counter-clockwise as seen.
    """
    height, width = images.shape[1:]
    angle = degrees * (math.pi / 180)
    cos, sin = angle.cos(), angle.sin()
    # where each output pixel comes from, in the grid's units: half the picture is 1
    x = torch.stack([cos, -sin * (height / width), (down * sin - right * cos) * (2 / width)], dim=1)
    y = torch.stack(
        [sin * (width / height), cos, (-down * cos - right * sin) * (2 / height)], dim=1
    )
    grid = functional.affine_grid(
        torch.stack([x, y], dim=1), [len(images), 1, height, width], align_corners=False
    )
    turned = functional.grid_sample(images.unsqueeze(1), grid, align_corners=False)
    return turned.squeeze(1)


@dataclass(frozen=True)
class Augment:
    """Shifts and rotations of scaled rows: unscaled, warped, scaled again.

    Args:
        image: height and width.
        scaler: that the rows were scaled with.
        shift: at most this many pixels, each way.
        rotate: at most this many degrees, either way.
    """

    image: tuple[int, int]
    scaler: Scaler
    shift: float | int
    rotate: float | int

    def draw(self, rows: int, generator: torch.Generator) -> Float[Tensor, "rows 3"]:
        """Return each row's shift right and down in pixels and its turn in degrees."""
        most = torch.tensor([self.shift, self.shift, self.rotate], dtype=torch.float64)
        return (torch.rand(rows, 3, generator=generator, dtype=torch.float64) * 2 - 1) * most

    def __call__(
        self, x: Float[Tensor, "n F"], draws: Float[Tensor, "n 3"]
    ) -> Float[Tensor, "n F"]:
        """Return the rows shifted and turned as drawn."""
        at = x if x.dtype == torch.float64 else x.float()  # the grid is too fine for 16 bits
        offset = torch.as_tensor(self.scaler.offset).to(at)
        scale = torch.as_tensor(self.scaler.scale).to(at)
        images = (at * scale + offset).reshape(-1, *self.image)
        turned = warp(images, *draws.to(at).unbind(dim=1)).reshape(x.shape)
        return ((turned - offset) / scale).to(x.dtype)
