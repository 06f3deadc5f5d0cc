"""`hydra/sweeper=grid`: Hydra's own sweeper, but for a check that composes every job."""

from collections.abc import Sequence
from dataclasses import dataclass

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override


@dataclass
class GridSweeperConf(BasicSweeperConf):
    """Options of Hydra's basic sweeper."""

    _target_: str = "hydra_plugins.descent_stack.sweeper.GridSweeper"


ConfigStore.instance().store(
    group="hydra/sweeper", name="grid", node=GridSweeperConf, provider="descent"
)


class GridSweeper(BasicSweeper):
    """All combinations of the values that were given."""

    @staticmethod
    def split_arguments(
        overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """Return batches of jobs; a grid without an end is refused before it is made."""
        from descent.typed import check_sweep, without_float_noise

        check_sweep(overrides)
        without_float_noise(overrides)
        return BasicSweeper.split_arguments(overrides, max_batch_size)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave it to the launcher, which composes once for many jobs and checks more."""
