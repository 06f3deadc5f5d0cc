"""Figures on a dark page: ink and paper change places, maps of values stay."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.image import imread

from descent.report import dark
from descent.report.dark import INK, LIGHTER, PAPER, dark_of, dark_png
from descent.report.style import BLACK, BLUE, COLOURS, DPI, new_figure

STYLES = Path(dark.__file__).parent


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.2."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_ink_and_paper_change_places_and_colours_become_those_of_the_dark_page() -> None:
    assert to_hex(dark_of("white")) == PAPER
    assert to_hex(dark_of("black")) == INK
    assert to_hex(dark_of(BLUE)) == LIGHTER[BLUE]
    assert dark_of((0.2, 0.5, 0.1, 1.0)) is None
    assert dark_of("none") is None
    assert dark_of((0.0, 0.0, 0.0, 0.25))[3] == 0.25
    page = (STYLES / "page.css").read_text().split("dark")[2]
    assert (f"--ink: {INK}", f"--paper: {PAPER}") == tuple(
        re.search(rf"--{name}: #\w+", page)[0]
        for name in ("ink", "paper")  # type: ignore[index]
    )
    sweep = (STYLES / "sweep" / "sweep.css").read_text().split("dark")[1]
    for i, colour in enumerate(COLOURS):
        assert re.search(rf"--c{i}: (#\w+)", sweep)[1] == LIGHTER[colour]  # type: ignore[index]


def test_every_colour_of_a_line_stands_out_from_the_dark_page() -> None:
    for colour in LIGHTER.values():
        assert (luminance(colour) + 0.05) / (luminance(PAPER) + 0.05) >= 4.5


def light_png(figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, dpi=DPI, format="png")
    return file.getvalue()


def test_a_figure_is_as_it_was_after_its_dark_form_was_drawn() -> None:
    figure = new_figure(2.0, 3.0)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], "o-", color=BLUE, label="a", markerfacecolor="white")
    axes.plot([0, 1], [1, 0], "o", color=BLACK)
    axes.fill_between([0, 1], [0, 0], [1, 1], color=BLUE, alpha=0.2)
    figure.legend()
    light_png(figure)
    figure.set_layout_engine("none")  # found once, as `save` does
    before = light_png(figure)
    made = imread(io.BytesIO(dark_png(figure)))
    assert light_png(figure) == before
    assert to_hex(made[0, 0, :3]) == PAPER
    assert to_hex(imread(io.BytesIO(before))[0, 0, :3]) == "#ffffff"
    found = {to_hex(pixel) for pixel in made[::2, ::2, :3].reshape(-1, 3)}
    assert LIGHTER[BLUE] in found
    assert BLUE.lower() not in found


@pytest.mark.parametrize("draw", ["imshow", "pcolormesh"])
def test_a_map_of_values_keeps_its_colours_and_what_is_written_on_it(draw: str) -> None:
    figure = new_figure(2.0, 2.0)
    axes = figure.add_subplot()
    axes.set_axis_off()
    getattr(axes, draw)(np.array([[0.0, 1.0], [0.5, 0.25]]))
    axes.text(0.5, 0.5, "12", color="black", fontsize=20)
    first, second = (imread(io.BytesIO(png)) for png in (light_png(figure), dark_png(figure)))
    inside = first[..., :3].min(axis=2) < 0.98  # all but the paper
    assert inside.mean() > 0.5
    same = np.abs(first - second)[inside].max(axis=1) < 0.02
    assert same.mean() > 0.97  # but for the rim of the map, which is mixed with the paper
