"""`hydra/sweeper=grid`: Hydra's own sweeper, but for a check that composes every job."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override


@dataclass
class GridSweeperConf(BasicSweeperConf):
    """Options of Hydra's basic sweeper, and those combinations of values that are wanted.

    Args:
        only: a list for each wanted combination, of the values of all options but seeds that were
            given several, in their order, such as `[[sgd,0.1],[adam,0.01]]`; null = all.
    """

    _target_: str = "hydra_plugins.descent_stack.sweeper.GridSweeper"
    only: Any = None


ConfigStore.instance().store(
    group="hydra/sweeper", name="grid", node=GridSweeperConf, provider="descent"
)


class GridSweeper(BasicSweeper):
    """All combinations of the values that were given, or those of them that are wanted."""

    def __init__(self, max_batch_size: int | None, params: Any = None, only: Any = None) -> None:
        super().__init__(max_batch_size, params)
        self.only = only

    def split_arguments(  # type: ignore[override]  # static in Hydra, which calls it on itself
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """Return batches of jobs; a grid without an end is refused before it is made."""
        from descent.config.typed import check_sweep, without_float_noise

        check_sweep(overrides)
        without_float_noise(overrides)
        batches = BasicSweeper.split_arguments(overrides, max_batch_size)
        if self.only is None:
            return batches
        from descent.cli import one_sentence
        from descent.sweep.composing import wanted

        with one_sentence():
            keep = wanted(self.only, overrides, [job for batch in batches for job in batch])
        found = [[job for job in batch if tuple(job) in keep] for batch in batches]
        return [batch for batch in found if batch]

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave it to the launcher, which composes once for many jobs and checks more."""
