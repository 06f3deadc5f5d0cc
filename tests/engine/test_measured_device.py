"""The device that `auto` takes where there are several: measured, told, kept on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from descent import assembly
from descent.engine import measured_device
from descent.engine.device import candidates
from descent.engine.measured_device import choose, key_of
from descent.sweep import placing

# a second CPU stands for the card
CPU, OTHER, CUDA = torch.device("cpu"), torch.device("cpu", 0), torch.device("cuda", 0)
AUTO = {"accelerator": "auto", "devices": 1}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what is measured away from the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "descent" / "devices"


def by(seconds: dict[str, float], asked: list[str]) -> Any:
    def measure(device: torch.device) -> float:
        asked.append(str(device))
        return seconds[str(device)]

    return measure


@pytest.mark.parametrize(
    ("cpu", "cuda", "device", "reason"),
    [
        (1e-4, 1.4e-3, CPU, "14x faster than cuda:0 for steps this small"),
        (1e-2, 4e-3, CUDA, "2.5x faster than cpu for steps of this size"),
        (1e-3, 1.02e-3, CPU, "as fast as cuda:0"),
    ],
)
def test_the_faster_device_is_taken_and_told(
    cpu: float, cuda: float, device: torch.device, reason: str
) -> None:
    asked: list[str] = []
    measure = by({"cpu": cpu, "cuda:0": cuda}, asked)
    choice = choose([CPU, CUDA], measure, "key")
    assert (choice.device, choice.reason) == (device, reason)
    again = choose([CPU, CUDA], measure, "key")
    assert (again.device, again.reason) == (device, f"{reason}, measured before")
    assert asked == ["cpu", "cuda:0"]
    choose([CPU, CUDA], measure, "another key")
    assert asked == ["cpu", "cuda:0"] * 2


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"cpu": -1.0}', '{"cpu": "fast"}', '{"tpu": 1.0}', '{"cpu": NaN}', "[" * 999],
)
def test_what_is_no_measurement_is_measured_again(text: str, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "key.json").write_text(text)
    asked: list[str] = []
    assert choose([CPU, CUDA], by({"cpu": 1.0, "cuda:0": 2.0}, asked), "key").device == CPU
    assert asked == ["cpu", "cuda:0"]


def test_a_device_that_cannot_take_the_steps_is_left_out(caplog: Any) -> None:
    caplog.set_level("INFO")

    def measure(device: torch.device) -> float:
        if device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory\nmore")
        return 1.0

    choice = choose([CPU, CUDA], measure, "key")
    assert (choice.device, choice.reason) == (CPU, "the only one that can take these steps")
    assert "device    cuda:0 cannot take these steps: CUDA out of memory" in caplog.text


def test_nothing_is_kept_where_nothing_can_be(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert choose([CPU, CUDA], by({"cpu": 1.0, "cuda:0": 2.0}, []), "key").device == CPU


def test_there_is_a_choice_for_auto_on_one_device(monkeypatch: Any) -> None:
    assert torch.cuda.is_available() or candidates(AUTO) == []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert candidates(AUTO) == [CPU, CUDA]
    assert candidates({**AUTO, "accelerator": "cuda"}) == []
    assert candidates({**AUTO, "devices": 2}) == []


def test_the_key_tells_shapes_and_optimizers_apart(make_job: Any) -> None:
    keys = set()
    for more in ((), ("optimizer=adam",), ("model.hidden=[3]",), ("trainer=float64",)):
        job = make_job("data=iris", "model=mlp", *more)
        model = assembly.build_model(job.config, job.prepared.description)
        keys |= {key_of(job.config, model, [1, 1], 64), key_of(job.config, model, [8, 64], 64)}
    assert len(keys) == 8


@pytest.mark.parametrize(
    "typed", [(), ("trainer.derivatives=autograd",), ("optimizer=adam", "model.dropout=0.2")]
)
def test_real_windows_are_measured_and_change_nothing(
    typed: tuple[str, ...], make_job: Any, monkeypatch: Any
) -> None:
    """A run that was measured on two devices is, to the bit, the run that was not."""
    monkeypatch.setattr(measured_device, "ENOUGH", 0.0)
    taken = []
    for devices in ([CPU, OTHER], []):
        monkeypatch.setattr(assembly, "candidates", lambda _, devices=devices: devices)
        job = make_job("data=iris", "model=mlp", "model.hidden=[4]", "stop.epochs=2", *typed)
        learner, data, trainer = assembly.assemble(job)
        trainer.fit(learner, datamodule=data)
        taken.append(learner.kernel.place())
    assert torch.equal(*taken)


def test_a_run_says_why_it_is_where_it_is(make_job: Any, monkeypatch: Any, caplog: Any) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(assembly, "candidates", lambda _: [CPU, OTHER])
    seconds = {"cpu": 1e-5, "cpu:0": 7e-5}
    monkeypatch.setattr(measured_device, "seconds_a_step", lambda *parts: seconds[str(parts[-1])])
    assembly.assemble(make_job("data=three_points", "model=linear"))
    assert "device    cpu, 7x faster than cpu:0 for steps this small" in caplog.text


def test_a_sweep_measures_as_many_runs_as_each_device_takes(
    make_job: Any, monkeypatch: Any
) -> None:
    job = make_job("data=three_points", "model=linear")
    model = assembly.build_model(job.config, job.prepared.description)
    group = type("Group", (), {"jobs": [type("Planned", (), {"config": job.config})] * 9})
    monkeypatch.setattr(placing, "candidates", lambda _: [CPU, OTHER])
    monkeypatch.setattr(placing, "stack_size", lambda *parts: 2 if str(parts[2]) == "cpu" else 9)
    seen = []

    def measured(kernel: Any, x: Any, y: Any, size: int, device: torch.device) -> float:
        seen.append((str(device), len(kernel.rates.values)))
        return 1.0 if str(device) == "cpu" else 9.0  # a step; a run-step 1/2 and 1

    monkeypatch.setattr(measured_device, "seconds_a_step", measured)
    device, why = placing.where(group, model, "auto", None, 1)
    assert seen == [("cpu", 2), ("cpu:0", 9)]
    assert (device, why) == (CPU, "2x faster than cpu:0 for steps this small")
