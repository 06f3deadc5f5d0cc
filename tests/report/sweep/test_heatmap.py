"""Heat maps: what stands in each cell, what is marked, and where the boundary runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import LogNorm, to_hex, to_rgb

from descent.analysis.grid import Grid
from descent.analysis.settings import Measure, Setting
from descent.analysis.trials import Trial
from descent.report.sweep.heatmap import heatmap, ink
from descent.report.sweep.heatmap_caption import boundary_rows
from descent.report.sweep.marks import (
    across_of,
    axis_title,
    brief,
    fenced,
    folded,
    spoken,
    value_text,
)

LR, BATCH = "optimizer.lr", "data.batch_size"
LOSS = Measure("train/full_loss", "final full loss", True)
RATES, SIZES = (0.01, 0.1, 1.0), (16.0, 64.0, 256.0)
DIV = "diverged"
Scores = Sequence[float | str]


def setting(values, scores: Scores) -> Setting:
    """A setting with a trial a score; a word is the status of a trial without one."""
    trials = tuple(
        Trial(
            k, values, f"seed={k}", s if isinstance(s, str) else "ok", "", 1, 1, 1.0, {}, Path(), ""
        )
        for k, s in enumerate(scores)
    )
    return Setting(values, trials, {k: s for k, s in enumerate(scores) if not isinstance(s, str)})


def grid(
    cells: dict[tuple[int, int], Scores], xs=SIZES, ys=RATES, best=None, title="sgd", x=BATCH, y=LR,
    measure=LOSS, boundary=None, edges=(), **fixed,
) -> Grid:  # fmt: skip
    made = {
        (c, r): setting({**fixed, x: xs[c]} | ({y: ys[r]} if y else {}), scores)
        for (c, r), scores in cells.items()
    }
    shape = (len(ys) or 1, len(xs))
    mean, spread, diverged = (np.full(shape, np.nan) for _ in range(3))
    for (c, r), one in made.items():
        mean[r, c], spread[r, c], diverged[r, c] = one.mean, one.spread, one.diverged
    boundary = None if boundary is None else np.array(boundary)
    return Grid(
        title, x, y, xs, ys, made, mean, spread, diverged, best, measure, boundary, edges=edges
    )


def full(values: Sequence[Sequence[float]], **more) -> Grid:
    """A grid with one seed a cell; rows from the lowest up."""
    cells = {(c, r): [v] for r, row in enumerate(values) for c, v in enumerate(row)}
    return grid(cells, **more)


def texts(axes) -> dict[tuple[float, float], str]:
    return {text.get_position(): text.get_text() for text in axes.texts}


def named(axes, gid: str) -> list:
    return [artist for artist in axes.get_children() if artist.get_gid() == gid]


def squares(axes, gid: str) -> list[tuple[float, float]]:
    """The middles of the squares of all collections with a name."""
    paths = [path for collection in named(axes, gid) for path in collection.get_paths()]
    return sorted(tuple(path.get_extents().get_points().mean(axis=0)) for path in paths)


def legend(picture) -> list[str]:
    return [text.get_text() for text in picture.figure.legends[0].get_texts()]


# ---- cells


def test_a_cell_holds_the_mean_the_spread_and_the_share_that_diverged():
    # 0.1, 0.2, 0.3: mean 0.2, standard deviation 0.1
    cells = {(0, 0): [0.1, 0.2, 0.3], (1, 0): [0.5, 0.7, DIV, DIV], (2, 0): [DIV, DIV]}
    picture = heatmap([grid(cells, ys=(0.1,), best=(0, 0))])
    axes = picture.figure.axes[0]
    assert texts(axes) == {
        (0, 0): "0.200\n±0.10",
        (1, 0): "0.600\n±0.14\n50% div.",  # sqrt(2 * 0.1^2 / 1) = 0.141
        (2, 0): "100% div.",
    }
    assert squares(axes, "diverged") == [(1, 0), (2, 0)]
    assert all(collection.get_hatch() for collection in named(axes, "diverged"))
    assert "2 of 3 settings lost trials to divergence, 1 of them every trial" in picture.caption


def test_what_has_no_score_is_not_imputed_and_what_was_never_tried_is_empty():
    cells = {(0, 0): [0.1, "failed"], (1, 0): ["failed", "failed"], (1, 1): [0.3, 0.3]}
    cells[2, 0] = [0.2, "failed", DIV, DIV]
    picture = heatmap([grid(cells, ys=RATES[:2])])
    axes = picture.figure.axes[0]
    assert texts(axes) == {
        (0, 0): "0.100\n1 of 2", (1, 0): "no score", (1, 1): "0.300\n±0",
        (2, 0): "0.200\n50% div. n=1",
    }  # fmt: skip
    assert squares(axes, "no score") == [(1, 0)]
    assert squares(axes, "never tried") == [(0, 1), (2, 1)]
    means = named(axes, "means")[0].get_array()
    np.testing.assert_array_equal(means.mask, [[False, True, False], [True, False, True]])
    assert legend(picture)[1:] == ["no score", "never tried"]


def test_a_missed_target_is_told_from_divergence():
    measure = Measure("steps to target", "steps to full loss 0.1", True, 0.1)
    cells = {(0, 0): [1200.0, 1400.0], (1, 0): ["ok", "ok"], (2, 0): ["ok", DIV]}
    picture = heatmap([grid(cells, ys=(0.1,), best=(0, 0), measure=measure)])
    assert list(texts(picture.figure.axes[0]).values()) == [
        "1,300\n±141", "missed", "missed\n50% div.",
    ]  # fmt: skip
    assert "Lowest steps to full loss 0.1: 1,300 ± 141" in picture.caption
    assert "target missed" in legend(picture)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.12345, 3, "0.123"), (0.001234, 3, "0.00123"), (0.0001234, 3, "1.2e-4"),
        (12.34, 3, "12.3"), (1437.2, 3, "1,437"), (123456.0, 3, "1.2e5"), (300000.0, 3, "3e5"),
        (12345.0, 3, "12,345"), (12345.0, 2, "1.2e4"), (0.0, 3, "0"), (-0.5, 3, "-0.500"),
    ],
)  # fmt: skip
def test_numbers_in_cells_are_brief(value, digits, text):
    assert brief(value, digits) == text


def test_numbers_in_sentences_have_no_zeros_at_their_end():
    assert [spoken(v) for v in (0.11, 30.0, 100.0, 1300.0)] == ["0.11", "30", "100", "1,300"]


# ---- marks


def test_the_best_cell_is_framed_and_starred_and_the_best_of_all_is_told_from_the_others():
    good = full([[0.5, 0.4], [0.3, 0.9]], xs=SIZES[:2], ys=RATES[:2], best=(0, 1))
    worse = full([[0.5, 0.6], [0.7, 0.9]], xs=SIZES[:2], ys=RATES[:2], best=(0, 0), title="adam")
    picture = heatmap([worse, good])
    for axes, (c, r) in zip(picture.figure.axes[:2], [(0, 0), (0, 1)], strict=True):
        (frame,), (star,) = named(axes, "best"), named(axes, "star")
        assert frame.get_bbox().bounds == (c - 0.5, r - 0.5, 1, 1)
        assert star.get_xydata().tolist() == [[c + 0.5, r + 0.5]]  # beside the text
    first, second = (named(axes, "star")[0].get_color() for axes in picture.figure.axes[:2])
    assert to_hex(first) == "#ffffff"
    assert to_hex(second) != "#ffffff"
    assert legend(picture) == ["best cell of all", "best of its panel"]
    assert picture.caption.startswith("Lowest final full loss: 0.3, at batch_size=16, lr=0.1.")


def test_more_is_better_where_the_measure_says_so():
    measure = Measure("val/accuracy", "final val accuracy", False)
    picture = heatmap([full([[0.5, 0.9, 0.6]], ys=(0.1,), best=(1, 0), measure=measure)])
    assert picture.caption.startswith("Highest final val accuracy: 0.9, at")
    mesh = named(picture.figure.axes[0], "means")[0]
    light = [sum(mesh.cmap(mesh.norm(v))[:3]) for v in (0.5, 0.6, 0.9)]
    assert light == sorted(light)


@pytest.mark.parametrize(
    ("best", "found"),
    [((1, 1), []), ((0, 1), ["left"]), ((2, 0), ["right", "down"]), ((1, 2), ["up"])],
)
def test_an_arrow_stands_at_each_edge_that_the_best_cell_lies_on(best, found):
    values = np.ones((3, 3))
    values[best[::-1]] = 0.5
    one = full(values.tolist(), best=best, edges=tuple(found))
    picture = heatmap([one])
    markers = {"left": "<", "right": ">", "down": "v", "up": "^"}
    arrows = named(picture.figure.axes[0], "edge")
    assert [arrow.get_marker() for arrow in arrows] == [markers[edge] for edge in found]
    assert ("the best lies on the edge of the grid" in legend(picture)) == bool(found)
    assert ("better may lie beyond" in picture.caption) == bool(found)


# ---- the boundary


def test_the_boundary_lies_on_the_logarithm_of_the_rows():
    # rows 0.01, 0.1, 1; sqrt(0.1) lies midway between 0.1 and 1, and 2 at log10(2) above 1
    one = full(np.ones((3, 4)).tolist(), xs=(1.0, 2.0, 3.0, 4.0), boundary=[0.1, 0.1**0.5, 2, 90])
    np.testing.assert_allclose(boundary_rows(one), [1, 1.5, 2 + np.log10(2), np.nan])
    picture = heatmap([one])
    (line,) = named(picture.figure.axes[0], "boundary")
    x, y = line.get_data()
    assert x.tolist() == [-0.5, 0.5, 0.5, 1.5, 1.5, 2.5, 2.5, 3.5]
    np.testing.assert_allclose(y, np.repeat([1, 1.5, 2 + np.log10(2), np.nan], 2))
    assert "largest stable lr by theory" in legend(picture)


def test_uneven_rows_and_rows_at_zero_keep_the_boundary_in_its_place():
    one = full(np.ones((4, 1)).tolist(), xs=(16.0,), ys=(0.0, 0.1, 0.2, 1.6), boundary=[0.4])
    # 0.4 is a third of the way from 0.2 to 1.6: log2 of 2 out of log2 of 8
    np.testing.assert_allclose(boundary_rows(one), [2 + 1 / 3])


def test_the_caption_says_whether_the_boundary_came_true():
    cells = {(0, 0): [0.1], (0, 1): [0.2], (0, 2): [DIV], (1, 0): [DIV], (1, 1): [0.2], (1, 2): [1]}
    one = grid(cells, xs=SIZES[:2], best=(0, 0), boundary=[0.5, 0.05])
    # above: (0, 2), (1, 1), (1, 2), of which one diverged; below: (0, 0), (0, 1), (1, 0), one too
    said = heatmap([replace(one, note="The sharpness is 2.")]).caption
    assert "1 of 3 above the predicted boundary, 1 of 3 below it." in said
    assert said.endswith(" The sharpness is 2.")
    over = grid(cells, xs=SIZES[:2], best=(0, 0), boundary=[50, 50])
    picture = heatmap([over])
    assert "all lie below the predicted boundary" in picture.caption
    assert not named(picture.figure.axes[0], "boundary")


# ---- colours


def test_panels_share_a_scale_unless_their_data_differ():
    low, high = (full([[v, v + 0.1]], xs=SIZES[:2], ys=(0.1,)) for v in (0.1, 0.8))
    same = heatmap([low, high]).figure
    assert {named(axes, "means")[0].norm.vmax for axes in same.axes[:2]} == {0.8 + 0.1}
    digits, wine = (
        full([[k, k + 1]], xs=SIZES[:2], ys=(0.1,), data=name, best=(0, 0))
        for k, name in ((1, "digits"), (50, "wine"))
    )
    own = heatmap([digits, wine])
    assert [named(axes, "means")[0].norm.vmin for axes in own.figure.axes[:2]] == [1, 50]
    assert legend(own) == ["best cell of its problem"]
    assert "1, at data=digits" in own.caption
    assert "50, at data=wine" in own.caption


def test_one_awful_cell_does_not_flatten_the_rest():
    values = [[0.10, 0.12, 0.14], [0.16, 0.18, 0.2], [0.22, 0.24, 1e9]]
    mesh = named(heatmap([full(values)]).figure.axes[0], "means")[0]
    assert (mesh.norm.vmin, mesh.norm.vmax) == (0.1, 0.24)
    assert not isinstance(mesh.norm, LogNorm)


def test_values_over_decades_get_a_log_scale():
    mesh = named(heatmap([full([[1e-3, 1e-2, 1.0]], ys=(0.1,))]).figure.axes[0], "means")[0]
    assert isinstance(mesh.norm, LogNorm)


def test_a_mean_of_zero_has_the_colour_of_the_least_on_a_log_scale():
    mesh = named(heatmap([full([[0.0, 1e-3, 1.0]], ys=(0.1,))]).figure.axes[0], "means")[0]
    assert isinstance(mesh.norm, LogNorm)
    assert mesh.get_array().tolist() == [[1e-3, 1e-3, 1.0]]


def test_only_bad_values_are_outliers():
    assert fenced(np.array([1e-9, *np.linspace(1, 2, 20)]), True)[0] == 1e-9
    assert fenced(np.array([-1e9, *np.linspace(0.8, 0.9, 20)]), False)[:2] == (0.8, 0.9)
    assert fenced(np.array([0.0, *np.linspace(-1, 1, 20), 1e9]), True)[:2] == (-1, 1)
    with pytest.raises(ValueError, match="no value is finite"):
        fenced(np.array([np.nan]), True)


def test_ink_stands_out_on_every_colour():
    import matplotlib

    def luminance(rgb):  # as the Web Content Accessibility Guidelines define it
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    for colour in matplotlib.colormaps["viridis"](np.linspace(0, 1, 40)):
        light, dark = sorted([luminance(to_rgb(ink(colour))), luminance(colour[:3])], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


# ---- layout


def crowd(columns: int, rows: int, panels: int) -> list[Grid]:
    values = np.geomspace(1e-3, 900, columns * rows).reshape(rows, columns)
    sizes = tuple(float(2**k) for k in range(columns))
    rates = tuple(float(f"{v:.3g}") for v in np.geomspace(1e-6, 10, rows))
    title = "optimizer_of_a_long_name, scheduler=cosine_with_warmup"
    cells = {
        (c, r): [DIV, values[r, c], values[r, c] * 1.01] if c == r else [values[r, c]] * 2
        for c in range(columns)
        for r in range(rows)
    }
    best = (columns - 1, 0)
    return [grid(cells, sizes, rates, best, f"{title}_{k}") for k in range(panels)]


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 3), (6, 16, 7), (16, 64, 1), (3, 4, 12)])
def test_no_text_overlaps_another(shape):
    picture = heatmap(crowd(*shape))
    figure = picture.figure
    figure.draw_without_rendering()
    assert figure.get_figwidth() == 8
    assert figure.get_figheight() < 12
    panels = figure.axes[: shape[2]]
    for axes in panels:
        (x0, y0), (x1, y1) = axes.transData.transform([(0, 0), (1, 1)])
        for text in axes.texts:
            box = text.get_window_extent()
            assert box.width <= x1 - x0
            assert box.height <= y1 - y0
        assert texts(axes)
    labels = []
    for axes in panels:
        labels += [axes.title, axes.xaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()]
    labels = [label for label in labels if label.get_text()]
    boxes = [label.get_window_extent().padded(-1) for label in labels]
    boxes += [figure.legends[0].get_window_extent()]
    for i, box in enumerate(boxes):
        assert not [j for j in range(i) if box.overlaps(boxes[j])]


def test_a_grid_too_large_for_text_shows_colours_and_marks_only():
    picture = heatmap(crowd(16, 64, 3))
    axes = picture.figure.axes[0]
    assert not axes.texts
    assert named(axes, "star")[0].get_xydata().tolist() == [[15, 0]]
    assert "diverged (grey: all trials, else some)" in legend(picture)


def test_one_option_alone_is_one_row():
    row = full([[0.3, 0.1, 0.2]], xs=RATES, ys=(), x=LR, y=None, best=(1, 0))
    axes = heatmap([row, replace(row, title="adam")]).figure.axes[0]
    assert list(texts(axes)) == [(0, 0), (1, 0), (2, 0)]
    assert not axes.get_ylabel()
    assert not [label for label in axes.get_yticklabels() if label.get_text()]
    assert not named(axes, "edge")


def test_a_boundary_across_the_only_row_passes_under_its_numbers():
    row = full([[0.3, 0.1]], xs=(0.01, 0.1), ys=(), x=LR, y=None, best=(1, 0))
    axes = heatmap([replace(row, boundary=np.array([0.09]))]).figure.axes[0]
    boxed = {text.get_position(): text.get_bbox_patch() is not None for text in axes.texts}
    assert boxed == {(0, 0): False, (1, 0): True}


@pytest.mark.parametrize(
    ("panels", "most", "across"),
    [(1, 3, 1), (2, 3, 2), (3, 3, 3), (4, 3, 2), (3, 2, 1), (4, 2, 2), (5, 3, 3), (4, 4, 4),
     (6, 4, 3), (12, 3, 3)],
)  # fmt: skip
def test_few_panels_leave_no_corner_empty(panels, most, across):
    assert across_of(panels, most) == across
    assert panels > 4 or panels % across == 0


def test_scores_that_are_one_number_and_settings_as_good_are_told():
    same = full([[0.5, 0.25], [0.25, 0.75]], best=(1, 0))
    whole = {at: replace(s, scores=dict.fromkeys((0, 1), s.mean)) for at, s in same.cells.items()}
    whole = {at: replace(s, trials=tuple(replace(s.trials[0], number=n) for n in (0, 1)))
             for at, s in whole.items()}  # fmt: skip
    caption = heatmap([replace(same, cells=whole)]).caption
    assert caption.startswith("Lowest final full loss: 0.25 with each of 2 ")
    assert ", as at 1 other setting." in caption


def test_everything_diverged_is_still_a_picture():
    lost = grid({(c, r): [DIV, DIV] for c in range(3) for r in range(3)})
    picture = heatmap([lost])
    assert len(squares(picture.figure.axes[0], "diverged")) == 9
    assert len(picture.figure.axes) == 1  # no scale
    assert picture.caption.startswith("No setting kept all its trials")
    assert "9 of 9 settings lost trials to divergence, every trial of each" in picture.caption


def test_nothing_tried_gives_no_picture():
    assert heatmap([]) is None
    assert heatmap([grid({})]) is None


def test_long_words_are_folded_and_clipped():
    assert folded("learning rate (optimizer.lr)", 16) == "learning rate\n(optimizer.lr)"
    assert folded("scheduler=cosine_with_warmup", 12) == "scheduler=\ncosine_with_\nwarmup"
    assert max(map(len, folded("x" * 50, 20).split("\n"))) == 20
    assert value_text("descent.models.residual.DeepNet") == "descent.mod…al.DeepNet"
    assert [value_text(v) for v in (1e-05, 0.001, 32768.0, 0.000398107)] == [
        "1e-5", "0.001", "32768", "0.0003981",
    ]  # fmt: skip
    assert axis_title("optimizer.lr") == "learning rate (optimizer.lr)"
