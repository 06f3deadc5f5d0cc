"""`hydra/sweeper=grid`: Hydra's own sweeper, and random search."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override

from descent.errors import UserError


@dataclass
class GridSweeperConf(BasicSweeperConf):
    """Options of Hydra's basic sweeper, which combinations of values are wanted, random search.

    Args:
        only: a list for each wanted combination, of the values of all options but seeds that were
            given several, in their order, such as `[[sgd,0.1],[adam,0.01]]`; null = all.
        trials: how many settings to draw at random, from intervals such as
            `optimizer.lr=interval(1e-4,1)` and from lists of values; each is trained with every
            seed. null = a grid of all values.
        seed: of the draws.
    """

    _target_: str = "hydra_plugins.descent_stack.sweeper.GridSweeper"
    only: Any = None
    trials: Any = None
    seed: Any = 0


def store() -> None:
    """Make `hydra/sweeper=grid` this sweeper: a renamed package beside it has one as well."""
    ConfigStore.instance().store(
        group="hydra/sweeper", name="grid", node=GridSweeperConf, provider="descent"
    )


store()


class GridSweeper(BasicSweeper):
    """All combinations of the values that were given, or those of them that are wanted."""

    def __init__(
        self, max_batch_size: int | None, params: Any = None, only: Any = None, trials: Any = None,
        seed: Any = 0,
    ) -> None:  # fmt: skip
        super().__init__(max_batch_size, params)
        self.only, self.trials, self.seed = only, trials, seed

    def split_arguments(  # type: ignore[override]  # static in Hydra, which calls it on itself
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """Return batches of jobs; a grid without an end is refused before it is made."""
        from descent.config.typed import check_sweep, without_float_noise

        if self.trials is not None:
            return self._drawn(overrides, max_batch_size)
        check_sweep(overrides)
        without_float_noise(overrides)
        batches = [
            [_as_typed(job, overrides) for job in batch]
            for batch in BasicSweeper.split_arguments(overrides, max_batch_size)
        ]
        if self.only is None:
            return batches
        from descent.cli import one_sentence
        from descent.sweep.composing import wanted

        with one_sentence():
            keep = wanted(self.only, overrides, [job for batch in batches for job in batch])
        found = [[job for job in batch if tuple(job) in keep] for batch in batches]
        return [batch for batch in found if batch]

    def _drawn(
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """Return batches of a random search's jobs."""
        from descent.config.typed import without_float_noise
        from descent.sweep.sampling import draw

        if self.only is not None:
            raise UserError(
                "hydra.sweeper.only is of grids, and hydra.sweeper.trials draws; leave one out."
            )
        without_float_noise(overrides)
        drawn = draw(overrides, self.trials, self.seed)
        print(f"search    {drawn.told}", flush=True)
        return list(self.split_overrides_to_chunks(drawn.jobs, max_batch_size))

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave it to the launcher, which composes once for many jobs and checks more."""


def _as_typed(job: Sequence[str], overrides: Sequence[Override]) -> list[str]:
    """Return a job's words, those that are no sweep as the user typed them.

    Hydra makes `report=False` of `report=false`, and `~model.bias=null` of `~model.bias`.
    """
    typed = {
        override.get_key_element(): override.input_line
        for override in overrides
        if override.input_line and not override.is_sweep_override()
    }
    return [typed.get(word.partition("=")[0], word) for word in job]
