"""A LightningDataModule of the user's: its rows and its split, under our order and batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from descent.data.arrays import Task
from descent.data.own_module import rows
from descent.data.split import split_rows
from descent.errors import ForeignError, UserError
from own_parts import Circles


class Bare:
    """What loaders give is given by `batches`."""

    def __init__(self, *batches: Any) -> None:
        self.batches = batches

    def prepare_data(self) -> None:
        pass

    def setup(self, stage: str) -> None:
        pass

    def train_dataloader(self) -> Any:
        return list(self.batches)


def test_its_rows_come_once_in_the_order_of_its_datasets() -> None:
    module = Circles()
    arrays = rows(module)
    np.testing.assert_array_equal(arrays.features[:40], module.x[20:].numpy())
    np.testing.assert_array_equal(arrays.targets[40:], module.y[:20].numpy())
    assert (arrays.task, arrays.classes) == (Task.BINARY, ("0", "1"))
    assert arrays.feature_names == ("x0", "x1")
    assert arrays.notes == ("Circles gives 40 train, 20 val rows, each read once",)
    again = rows(Circles())
    np.testing.assert_array_equal(arrays.features, again.features)


def test_its_own_split_stands_and_what_it_lacks_is_cut_off_training() -> None:
    notes: list[str] = []
    split = split_rows(rows(Circles()), 0.1, 0.1, 0, notes=notes)
    np.testing.assert_array_equal(split["val"], np.arange(40, 60))
    assert len(split["test"]) == 6
    assert set(split["train"]) | set(split["test"]) == set(range(40))
    assert any("data.val_fraction has no effect" in note for note in notes)
    with pytest.raises(UserError, match="the source has its own split"):
        split_rows(rows(Circles()), 0.1, 0.1, 0, folds=5)


def test_numbers_are_regression_and_images_are_images() -> None:
    x, y = torch.rand(30, 1, 4, 5), torch.rand(30)
    arrays = rows(Bare((x, y)))
    assert (arrays.task, arrays.image, arrays.features.shape) == (Task.REGRESSION, (4, 5), (30, 20))
    classes = rows(Bare((torch.rand(4, 2), torch.tensor([3, 7, 9, 3]))))
    assert (classes.task, classes.classes) == (Task.MULTICLASS, ("3", "7", "9"))
    np.testing.assert_array_equal(classes.targets, [0, 1, 2, 0])
    counts = rows(Bare((torch.rand(4, 2), torch.tensor([3, 7, 9, 3]))), task="regression")
    assert counts.task is Task.REGRESSION


@pytest.mark.parametrize(
    ("module", "options", "sentence"),
    [
        (object(), {}, "makes a object, not a LightningDataModule"),
        (Bare(), {}, "gives no rows"),
        (Bare(torch.rand(3)), {}, r"must be a pair \(x, y\)"),
        (Bare((["a"], [1])), {}, "pairs that are no numbers"),
        (Bare((torch.rand(3, 2), torch.rand(2))), {}, "one y for each x"),
        (Bare((torch.rand(3, 2), torch.ones(3).long())), {}, "one class alone"),
        (Bare((torch.rand(3, 2), torch.rand(3))), {"task": "classification"}, "gives fractions"),
        (Bare((torch.rand(3, 2), torch.rand(3))), {"task": "both"}, "auto, regression or class"),
        (Bare((torch.rand(3, 2), torch.rand(3))), {"features": ["a"]}, "names 1 features"),
        (Bare((torch.rand(2, 2), torch.tensor([0, 2]))), {"classes": ["a", "b"]}, "gives 0 to 2"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(
    module: Any, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        rows(module, **options)


def test_what_it_raises_names_it() -> None:
    class Broken(Circles):
        def setup(self, stage: str | None = None) -> None:
            raise FileNotFoundError("no such file")

    with pytest.raises(ForeignError, match="Broken fails: no such file"):
        rows(Broken())


def test_it_trains(train_run) -> None:
    run = train_run(
        "data=datamodule", "data.source.datamodule._target_=own_parts.Circles",
        "+data.source.datamodule.count=90", "data.batch_size=10", "stop.epochs=20",
        "optimizer.lr=0.05",
    )  # fmt: skip
    assert run.result()["best"]["metrics"]["val/accuracy"] > 0.85
    assert run.data().rows["val"] == 30
