"""Loss functions f: R^d -> R to walk on, with their minima known.

Each is built from arithmetic alone, so the same function serves tensors in training and arrays in
pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from descent.errors import UserError, did_you_mean

Place = tuple[float | int, ...]


@dataclass(frozen=True)
class Landscape:
    """A function with what is known about it.

    Args:
        name: as on the command line.
        formula: for titles.
        function: of d coordinates, each a number, an array or a tensor.
        domain: (low, high) of each coordinate; starts lie within.
        minima: the places of all global minima.
        local_minima: minima that are not global.
        saddles: stationary places that are no extremes.
        source: where it comes from.
    """

    name: str
    formula: str
    function: Callable[..., Any]
    domain: tuple[tuple[float, float], ...]
    minima: tuple[Place, ...]
    local_minima: tuple[Place, ...] = ()
    saddles: tuple[Place, ...] = ()
    source: str = ""

    @property
    def dimension(self) -> int:
        """d."""
        return len(self.domain)

    @property
    def coordinates(self) -> tuple[str, ...]:
        """The names of the coordinates."""
        return ("x", "y")[: self.dimension]

    @property
    def lowest(self) -> float:
        """The value at the global minima."""
        return float(self.function(*self.minima[0]))

    @property
    def sentence(self) -> str:
        """The formula and where it is lowest."""
        places = ", ".join(_shown(place) for place in self.minima)
        return f"{self.name}: {self.formula}, lowest ({self.lowest:g}) at {places}"

    def check_start(self, start: Place) -> None:
        """Refuse a start of the wrong length or outside the domain.

        Raises:
            UserError: naming the coordinate and its range.
        """
        if len(start) != self.dimension:
            raise UserError(
                f"landscape.start={_shown(start)} has {len(start)} numbers, but {self.name} needs "
                f"{self.dimension}; give landscape.start=[{','.join(self.coordinates)}]."
            )
        for name, value, (low, high) in zip(self.coordinates, start, self.domain, strict=True):
            if not low <= value <= high:
                raise UserError(
                    f"landscape.start={_shown(start)} lies outside the domain of {self.name}: "
                    f"{name} must be from {low:g} to {high:g}."
                )


def _shown(place: Place) -> str:
    return "[" + ",".join(f"{value:g}" for value in place) + "]"


LANDSCAPES: dict[str, Landscape] = {
    landscape.name: landscape
    for landscape in (
        Landscape(
            "double_well",
            "x⁴ + ⅔x³ − 3x² + 63/16",
            lambda x: x**4 + x**3 * (2 / 3) - 3 * x**2 + 63 / 16,
            domain=((-2.5, 2.5),),
            minima=((-1.5,),),  # value 0, curvature 15
            local_minima=((1.0,),),  # value 125/48, curvature 10; the pass between them is x = 0
            source="f' = 4x (x - 1) (x + 3/2)",
        ),
        Landscape(
            "bowl",
            "½(x² + y²)",
            lambda x, y: 0.5 * (x**2 + y**2),
            domain=((-10.0, 10.0), (-10.0, 10.0)),
            minima=((0.0, 0.0),),
            source="curvature 1 in every direction",
        ),
        Landscape(
            "valley",
            "0.1x² + 2y²",
            lambda x, y: 0.1 * x**2 + 2.0 * y**2,
            domain=((-10.0, 10.0), (-10.0, 10.0)),
            minima=((0.0, 0.0),),
            source="curvatures 0.2 and 4: condition number 20",
        ),
        Landscape(
            "rosenbrock",
            "(1 − x)² + 100(y − x²)²",
            lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2,
            domain=((-2.5, 2.5), (-2.5, 4.0)),
            minima=((1.0, 1.0),),
            source="Rosenbrock (1960)",
        ),
        Landscape(
            "beale",
            "(1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)²",
            lambda x, y: (
                (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2
            ),
            domain=((-4.5, 4.5), (-4.5, 4.5)),
            minima=((3.0, 0.5),),
            saddles=((0.0, 1.0),),
            source="Beale (1958)",
        ),
        Landscape(
            "himmelblau",
            "(x² + y − 11)² + (x + y² − 7)²",
            lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2,
            domain=((-5.0, 5.0), (-5.0, 5.0)),
            minima=(
                (3.0, 2.0),
                (-2.8051180869527448, 3.1313125182505730),
                (-3.7793102533777469, -3.2831859912861694),
                (3.5844283403304917, -1.8481265269644036),
            ),
            saddles=(
                (0.08667750455539634, 2.884254701174776),
                (3.385154183607021, 0.07385187983774928),
                (-0.12796134673068005, -1.9537149802445766),
                (-3.0730257507643897, -0.08135304428796751),
            ),
            source="Himmelblau (1972)",
        ),
        Landscape(
            "saddle",
            "½x² + ¼(y² − 1)²",
            lambda x, y: 0.5 * x**2 + 0.25 * (y**2 - 1) ** 2,
            domain=((-2.0, 2.0), (-2.0, 2.0)),
            minima=((0.0, -1.0), (0.0, 1.0)),
            saddles=((0.0, 0.0),),
            source="curvatures 1 and -1 at the saddle, 1 and 2 at the minima",
        ),
    )
}


def landscape_named(name: str) -> Landscape:
    """Return a landscape.

    Raises:
        UserError: there is none of that name.
    """
    if name not in LANDSCAPES:
        hint = did_you_mean(name, LANDSCAPES) or "."
        raise UserError(f"There is no landscape '{name}'{hint} There are {', '.join(LANDSCAPES)}.")
    return LANDSCAPES[name]
