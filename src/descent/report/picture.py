"""A finished picture, and its files."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from descent.recording.atomic import replacing
from descent.report.style import DPI

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTEBOOK_DPI = 80  # as wide as a cell


@dataclass(frozen=True, repr=False)
class Picture:
    """A figure with the sentence that says what to see in it.

    Args:
        name: of its files, such as `curves`.
        title: for the page.
        figure: drawn.
        caption: made from the figures themselves.
    """

    name: str
    title: str
    figure: Figure
    caption: str

    def __repr__(self) -> str:
        return f"{self.title}. {self.caption}"

    def _repr_png_(self) -> bytes:
        """Return the figure as a notebook shows it."""
        file = io.BytesIO()
        self.figure.savefig(file, dpi=NOTEBOOK_DPI, format="png")
        return file.getvalue()


def save(picture: Picture, directory: Path) -> list[Path]:
    """Write `<name>.png` and `<name>.pdf`."""
    png, pdf = (directory / f"{picture.name}.{kind}" for kind in ("png", "pdf"))
    with replacing(png) as file:
        picture.figure.savefig(file, dpi=DPI, format="png")
    picture.figure.set_layout_engine("none")  # the layout stands; finding it again takes as long
    # no date: the same run gives the same file
    with replacing(pdf) as file:
        picture.figure.savefig(file, metadata={"CreationDate": None}, format="pdf")
    return [png, pdf]
