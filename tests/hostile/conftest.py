"""The warm process that the corpora share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hostile.warm import Warm


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """A process that has imported everything; see `Warm`."""
    process = Warm()
    yield process
    process.close()
