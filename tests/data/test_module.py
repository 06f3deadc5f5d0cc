"""The data module holds each row once, in the type its task and precision ask for."""

from __future__ import annotations

import gc
import json
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from descent.data import tensors
from descent.data.arrays import Arrays, Task, numeric
from descent.data.module import DataModule
from descent.data.prepare import Description, Prepared, prepare
from descent.data.scale import Scaler
from descent.data.tensors import Chunks

BUNDLED = {"iris": Task.MULTICLASS, "breast_cancer": Task.BINARY, "diabetes": Task.REGRESSION}


def prepared(name: str = "iris", **options: Any) -> Prepared:
    source = name if "." in name else f"bundled.{name}"
    config = {
        "source": {"_target_": f"descent.data.{source}"},
        "batch_size": 10, "val_fraction": 0.1, "test_fraction": 0.2, "split_seed": 0,
        "scale": "standardize", "scale_target": "standardize", "limit": None,
    }  # fmt: skip
    return prepare(config | options)


def ready(data: Prepared, precision: str = "32-true", **options: Any) -> DataModule:
    """A module that is set up, with no more of a trainer than it looks at."""
    made = DataModule(data, **options)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    made.trainer = SimpleNamespace(strategy=strategy, precision=precision)  # type: ignore[assignment]
    made.setup()
    return made


# ---- values and types


@pytest.mark.parametrize("name", BUNDLED)
def test_features_are_the_scaled_rows_of_their_split(name: str) -> None:
    data = prepared(name)
    arrays, rows, scaler = data.arrays, data.rows, data.scaler
    made = ready(data)
    assert made.rows == {split: len(r) for split, r in rows.items()}
    for split, (x, _) in made.tensors.items():
        expected = (arrays.features[rows[split]] - scaler.offset) / scaler.scale
        np.testing.assert_array_equal(x.numpy(), expected.astype(np.float32))


@pytest.mark.parametrize("name", BUNDLED)
def test_targets_have_the_type_and_shape_their_loss_takes(name: str) -> None:
    data = prepared(name)
    arrays, rows, scaler = data.arrays, data.rows["train"], data.target_scaler
    y = ready(data).tensors["train"][1]
    given = arrays.targets[rows]
    if arrays.task is Task.MULTICLASS:
        assert (y.dtype, y.shape) == (torch.int64, (len(rows),))
        np.testing.assert_array_equal(y.numpy(), given)
    else:
        expected = given if arrays.task is Task.BINARY else (given - scaler.offset) / scaler.scale
        assert (y.dtype, y.shape) == (torch.float32, (len(rows), 1))
        np.testing.assert_array_equal(y[:, 0].numpy(), expected.astype(np.float32))


def test_classes_are_never_scaled() -> None:
    assert prepared("breast_cancer").target_scaler.is_identity
    assert not prepared("diabetes").target_scaler.is_identity


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ("32-true", torch.float32),
        ("bf16-mixed", torch.float32),
        ("64-true", torch.float64),
        ("bf16-true", torch.bfloat16),
        ("16-true", torch.float16),
    ],
)
def test_tensors_have_the_trainers_precision_and_classes_stay_whole(
    precision: str, dtype: torch.dtype
) -> None:
    x, y = ready(prepared("iris"), precision).tensors["train"]
    assert (x.dtype, y.dtype) == (dtype, torch.int64)
    x, y = ready(prepared("diabetes"), precision).tensors["train"]
    assert (x.dtype, y.dtype) == (dtype, dtype)


def test_several_targets_keep_their_columns() -> None:
    rng = np.random.default_rng(0)
    arrays = Arrays(
        rng.random((20, 3)), rng.random((20, 2)), Task.REGRESSION, numeric(["a", "b", "c"])
    )
    rows = {"train": np.arange(20), "val": np.arange(0), "test": np.arange(0)}
    data = Prepared(
        arrays, rows, Scaler(np.zeros(3), np.ones(3)),
        Scaler(np.zeros(2), np.ones(2)), 5,
    )  # fmt: skip
    assert ready(data).tensors["train"][1].shape == (20, 2)


# ---- held once


def test_the_arrays_are_let_go_once_the_tensors_are_made() -> None:
    data = prepared("iris")
    features = weakref.ref(data.arrays.features)
    made = ready(data)
    gc.collect()
    assert data.arrays is None
    assert features() is None
    assert set(made.tensors) == {"train", "val", "test"}


def test_setting_up_again_makes_nothing_anew() -> None:
    made = ready(prepared("iris"))
    before, windows = made.tensors["train"][0], made.windows
    made.setup("test")
    assert made.tensors["train"][0] is before
    assert made.windows is windows


def test_rows_that_need_no_scaling_and_no_cast_are_not_copied() -> None:
    data = prepared("line.three_points", scale="none", scale_target="none", batch_size="full",
                    val_fraction=0.0, test_fraction=0.0)  # fmt: skip
    features = data.arrays.features
    x, _ = ready(data, "64-true").tensors["train"]
    assert np.shares_memory(x.numpy(), features)


def test_training_rows_made_in_the_place_of_their_source_spoil_no_other_split() -> None:
    """A line of float32 is its source's to give away: train takes its place, val and test copy."""
    options = {"scale": "standardize", "val_fraction": 0.1, "test_fraction": 0.2}
    data = prepared("line.line", **options)
    source, scaler, rows = data.arrays.features, data.scaler, data.rows
    expected = {
        n: ((source[r] - scaler.offset) / scaler.scale).astype("f4") for n, r in rows.items()
    }
    made = ready(data)
    assert np.shares_memory(made.tensors["train"][0].numpy(), source)
    for name, (x, _) in made.tensors.items():
        np.testing.assert_array_equal(x.numpy(), expected[name])


def test_a_source_that_is_not_to_be_given_away_is_left_as_it_is() -> None:
    data = prepared("diabetes")
    source = data.arrays.features
    before = source.copy()
    ready(data, "64-true")
    np.testing.assert_array_equal(source, before)


@pytest.mark.parametrize("order", ["sequential", "shuffle"])
def test_sequential_batches_are_views_of_the_tensors_and_shuffled_ones_are_not(order: str) -> None:
    made = ready(prepared("iris"), order=order)
    x, _ = made.tensors["train"]
    for window in made.train_dataloader():
        for xb in window.tensors()[0]:
            same = xb.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
            assert same == (order == "sequential")


def test_scaling_in_pieces_gives_the_same_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ready(prepared("iris")).tensors["train"][0]
    monkeypatch.setattr(tensors, "CHUNK", 11)
    assert torch.equal(ready(prepared("iris")).tensors["train"][0], whole)


# ---- loaders


def test_options_reach_the_windows() -> None:
    made = ready(
        prepared("iris"), order="with_replacement", drop_last=True, window=3, seeds=[5], cut=2
    )
    windows = made.train_dataloader().first
    assert (windows.order, windows.steps, windows.seed, windows.cut) == (
        "with_replacement",
        3,
        5,
        2,
    )
    assert windows.batch_size == 10
    assert windows.steps_per_epoch == 105 // 10


def test_the_loaders_give_every_row_of_their_split() -> None:
    made = ready(prepared("iris"))
    for name, loader in (("val", made.val_dataloader()), ("test", made.test_dataloader())):
        x, y = (torch.cat(parts) for parts in zip(*loader, strict=True))
        assert torch.equal(x, made.tensors[name][0])
        assert torch.equal(y, made.tensors[name][1])


def test_a_split_without_rows_has_no_loader() -> None:
    made = ready(prepared("iris", val_fraction=0.0, test_fraction=0.0))
    assert made.val_dataloader() == []
    assert made.test_dataloader() == []


# 9 rows of 8 bytes each: 40 bytes hold 5 of them, 39 hold 4; a piece is never less than a row
@pytest.mark.parametrize(("most", "pieces"), [(40, 2), (39, 3), (1, 9), (10**9, 1)])
def test_evaluation_takes_pieces_of_limited_size(
    most: int, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "MOST_BYTES", most)
    x, y = torch.arange(18.0).reshape(9, 2), torch.arange(9)
    chunks = Chunks(x, y)
    parts = list(chunks)
    assert len(parts) == len(chunks) == pieces
    assert torch.equal(torch.cat([a for a, _ in parts]), x)
    assert torch.equal(torch.cat([b for _, b in parts]), y)


# ---- preparing


def test_the_scalers_are_fitted_on_training_rows_only() -> None:
    data = prepared("diabetes")
    train = data.rows["train"]
    x, y = data.arrays.features[train], data.arrays.targets[train]
    np.testing.assert_allclose(data.scaler.offset, x.mean(axis=0), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(data.target_scaler.offset, y.mean(), rtol=1e-12)
    np.testing.assert_allclose(data.target_scaler.scale, y.std(ddof=1), rtol=1e-12)


def test_a_full_batch_is_all_training_rows() -> None:
    assert prepared("iris", batch_size="full").batch_size == 105


def test_a_description_survives_json() -> None:
    data = prepared("diabetes")
    said = data.describe()
    back = Description.from_dict(json.loads(json.dumps(said)))
    assert back.task is Task.REGRESSION
    assert (back.target, back.outputs) == ("progression", 1)
    assert back.columns == data.arrays.columns
    assert back.rows == {"train": 310, "val": 44, "test": 88}
    np.testing.assert_array_equal(back.scaler.scale, data.scaler.scale)
    assert back.fingerprint == said["fingerprint"]
