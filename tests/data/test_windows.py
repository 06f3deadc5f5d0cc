"""Windows change how batches are handed over, never which rows they hold."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from descent.data.windows import MOST_BYTES, MOST_STEPS, Windows, window_steps

N = 23  # with B = 4: five whole batches and one of 3 rows
X = torch.arange(N, dtype=torch.float32).reshape(N, 1)
Y = 100 + X

ORDERS = ["shuffle", "sequential", "with_replacement"]


def windows(**options: object) -> Windows:
    return Windows(X, Y, **{"batch_size": 4, **options})  # type: ignore[arg-type]


def batches(data: Windows) -> list[list[int]]:
    """The rows of every batch of the present epoch, in order; targets must belong to them."""
    found = []
    for window in data:
        for x, y in window.batches():
            assert torch.equal(y, 100 + x)
            found.append([int(v) for v in x[:, 0]])
    return found


def batches_at(epoch: int, **options: object) -> list[list[int]]:
    data = windows(**options)
    data.epoch = epoch
    return batches(data)


# ---- which rows


@pytest.mark.parametrize("steps", [2, 3, 6, 1000, "auto"])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("order", ORDERS)
def test_the_window_length_changes_no_batch(order: str, drop_last: bool, steps: int | str) -> None:
    for epoch in (0, 3):
        one = batches_at(epoch, order=order, drop_last=drop_last, steps=1)
        assert batches_at(epoch, order=order, drop_last=drop_last, steps=steps) == one


@pytest.mark.parametrize("order", ["shuffle", "sequential"])
def test_every_row_comes_once_an_epoch(order: str) -> None:
    for epoch in range(3):
        rows = list(itertools.chain(*batches_at(epoch, order=order)))
        assert sorted(rows) == list(range(N))


def test_sequential_rows_come_as_they_lie() -> None:
    assert list(itertools.chain(*batches_at(5, order="sequential"))) == list(range(N))


def test_the_last_batch_is_short_or_left_out() -> None:
    assert [len(b) for b in batches_at(0)] == [4, 4, 4, 4, 4, 3]
    assert [len(b) for b in batches_at(0, drop_last=True)] == [4, 4, 4, 4, 4]


def test_rows_left_out_of_one_epoch_come_in_another() -> None:
    seen = {r for epoch in range(10) for b in batches_at(epoch, drop_last=True) for r in b}
    assert seen == set(range(N))


def test_with_replacement_draws_rows_again_and_leaves_others_out() -> None:
    rows = list(itertools.chain(*batches_at(0, order="with_replacement")))
    assert len(rows) == N
    assert len(set(rows)) < N  # all 23 different has probability 23!/23^23, about 1e-9
    assert set(rows) <= set(range(N))


def test_with_replacement_draws_every_row_equally_often_in_the_long_run() -> None:
    drawn = [r for e in range(400) for b in batches_at(e, order="with_replacement") for r in b]
    counts = torch.bincount(torch.tensor(drawn), minlength=N).float()
    # 9200 draws of 23 rows: mean 400, standard deviation sqrt(400 * 22/23) = 19.6; allow five
    assert counts.sum() == 400 * N
    assert ((counts - 400).abs() < 5 * 19.6).all()


@pytest.mark.parametrize("order", ["shuffle", "with_replacement"])
def test_the_order_is_a_function_of_seed_and_epoch_alone(order: str) -> None:
    used = windows(order=order, seed=7)
    for epoch in range(3):
        used.epoch = epoch
        batches(used)
        torch.rand(5)  # what others draw does not matter
    used.epoch = 1
    assert batches(used) == batches_at(1, order=order, seed=7)
    assert batches(used) == batches(used)
    assert batches_at(1, order=order, seed=7) != batches_at(2, order=order, seed=7)
    assert batches_at(1, order=order, seed=7) != batches_at(1, order=order, seed=8)


def test_an_epoch_draws_nothing_from_torchs_own_stream() -> None:
    before = torch.get_rng_state()
    batches_at(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_full_batch_is_all_rows_as_they_lie() -> None:
    assert batches_at(2, batch_size=N) == [list(range(N))]


def test_single_rows_are_batches_too() -> None:
    rows = batches_at(0, batch_size=1)
    assert [len(b) for b in rows] == [1] * N


# ---- continuing


@pytest.mark.parametrize("done", range(7))
@pytest.mark.parametrize("order", ORDERS)
def test_steps_that_are_done_are_skipped_and_the_rest_is_the_same(order: str, done: int) -> None:
    data = windows(order=order, steps=4)
    data.epoch, data.done = 2, done
    assert batches(data) == batches_at(2, order=order)[done:]


# ---- cuts


@pytest.mark.parametrize("cut", [1, 2, 4, 5, 7, 100])
def test_no_window_crosses_a_cut_and_no_batch_is_lost_to_one(cut: int) -> None:
    data = windows(steps=64, cut=cut)
    step = 0
    for epoch in range(5):
        data.epoch = epoch
        for window in data:
            count = len(list(window.batches()))
            inside = range(step + 1, step + count)  # the steps before the window's last
            assert not [s for s in inside if s % cut == 0]
            step += count
        assert batches(data) == batches_at(epoch)
    assert step == 5 * 6


def test_cuts_are_counted_over_the_whole_run_also_after_a_resume() -> None:
    data = windows(steps=64, cut=5)
    data.epoch, data.done = 1, 2  # 8 steps are done: the next cut is at 10, then 15, 20
    assert [len(list(w.batches())) for w in data] == [2, 2]  # up to 10, then to the epoch's end, 12


# ---- memory


def shares(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


@pytest.mark.parametrize(
    "options", [{"order": "sequential"}, {"batch_size": N}], ids=["sequential", "full batch"]
)
def test_rows_taken_as_they_lie_are_views_of_the_data(options: dict[str, object]) -> None:
    for window in windows(steps=2, **options):
        for x, y in window.batches():
            assert shares(x, X)
            assert shares(y, Y)


def test_the_batches_of_a_shuffled_window_are_views_of_one_gather() -> None:
    (window, *_) = windows(steps=3)
    (first, _), *others = list(window.batches())
    assert not shares(first, X)
    assert all(shares(x, first) for x, _ in others)


def test_a_window_gathers_nothing_before_it_is_used() -> None:
    data = Windows(X.clone(), Y.clone(), batch_size=4)
    made = list(data)
    data.x.fill_(-1)
    assert all((x == -1).all() for window in made for x, _ in window.batches())


# ---- K


@pytest.mark.parametrize(
    ("given", "batch", "row_bytes", "per_epoch", "steps"),
    [
        (1, 4, 8, 100, 1),
        (32, 4, 8, 100, 32),
        (500, 4, 8, 100, 100),  # at most the epoch
        ("auto", 4, 8, 1000, MOST_STEPS),
        ("auto", 4, 8, 6, 6),
        ("auto", 64, MOST_BYTES // 128, 1000, 2),  # a batch takes half of what a window may
        ("auto", 64, MOST_BYTES, 1000, 1),  # one batch takes more: still one step
        (7, 64, MOST_BYTES, 1000, 7),  # who gives a number gets it
        ("auto", 4, 0, 1000, MOST_STEPS),
    ],
)
def test_the_window_is_as_given_or_as_large_as_the_limits_allow(
    given: int | str, batch: int, row_bytes: int, per_epoch: int, steps: int
) -> None:
    assert window_steps(given, batch, row_bytes, per_epoch) == steps


def test_automatic_windows_stay_within_the_memory_limit() -> None:
    wide = torch.zeros(64, 2**20)  # 4 MiB a row: 16 rows fill a window, four batches of 4
    data = Windows(wide, torch.zeros(64, 1), batch_size=4)
    assert data.steps * 4 * (wide[:1].nbytes + 4) <= MOST_BYTES
    assert data.steps == 3


# ---- counting


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 23])
def test_counts_agree_with_what_comes(batch_size: int, drop_last: bool) -> None:
    data = windows(batch_size=batch_size, drop_last=drop_last)
    sizes = [len(b) for b in batches(data)]
    assert data.steps_per_epoch == len(sizes)
    assert data.rows_per_epoch == sum(sizes)
    assert data.batch_rows(0, len(sizes)) == sizes
    assert data.batch_rows(len(sizes) - 1, 1) == sizes[-1:]
