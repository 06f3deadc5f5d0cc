"""Which runs a dashboard shows, what TensorBoard reads of them, and the server's life."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from descent.dashboard import logdir
from descent.dashboard.choosing import choose, short_names
from descent.dashboard.logdir import log_directory
from descent.dashboard.rows import find, read_rows
from descent.dashboard.serving import addresses, check_port, description
from descent.errors import UserError
from descent.records.eventfile import EventLog
from descent.records.run import GROUPS
from descent.records.tables import Series

ROOT = Path(__file__).parents[2]
GAPS = (0.1, 0.3, 0.2)  # of three seeds above the loss planted for their setting

CONFIG = "".join(f"{group}: {{}}\n" for group in GROUPS) + "seed: 0\n"


def plant_run(run: Path, typed: dict[str, str], status: str, loss: float, step: int = 100) -> None:
    """Make a run directory whose best validation loss is known, as training leaves it."""
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(CONFIG)
    final = loss + 1
    log = EventLog(run, options=dict(typed), finals=["val/loss"])
    x = {"by_step": np.array([1, step])}
    log.add(Series("train/step_loss", np.array([1e9, 1e9 + 1]), np.array([final + 1, final]), x))
    log.add_finals({"val/loss": final}, step, good=True)
    log.close()
    result = {
        "status": status, "reason": "as planted", "step": step, "epoch": 1, "samples": step,
        "seconds": 1.0, "overrides": [f"{key}={value}" for key, value in typed.items()],
        "optimized_metric": "val/loss", "metrics": {"val/loss": final},
        "best": {"metrics": {"val/loss": loss}},
    }  # fmt: skip
    (run / "result.json").write_text(json.dumps(result))


def plant_sweep(sweep: Path, jobs: list[tuple[dict[str, str], str, float, int]]) -> Path:
    """Make a multirun's directory; a job of status `not begun` gets no directory."""
    listed = []
    for number, (typed, status, loss, step) in enumerate(jobs):
        overrides = [f"{key}={value}" for key, value in typed.items()]
        listed.append({"number": number, "overrides": overrides, "directory": str(number)})
        listed[-1] |= {"status": None, "reason": ""}
        if status != "not begun":
            plant_run(sweep / str(number), typed, status, loss, step)
    (sweep / "jobs.json").write_text(json.dumps(listed))
    return sweep


def planted(sweep: Path, settings: dict[str, float | str]) -> Path:
    """Make a sweep over lr with three seeds; a setting's loss, or its status where it has none."""
    jobs = []
    for i, (lr, loss) in enumerate(settings.items()):
        for seed, gap in enumerate(GAPS):
            typed = {"optimizer.lr": lr, "model": "mlp", "seed": str(seed)}
            ended = ("ok", loss + gap) if isinstance(loss, float) else (loss, 9.0)
            jobs.append((typed, *ended, 100 * (i + 1) + seed))
    return plant_sweep(sweep, jobs)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two good settings, and two that lost every run: one after 300 steps, one after 400."""
    settings = {"0.1": 2.0, "0.01": 1.0, "1": "diverged", "2": "diverged"}
    return planted(tmp_path / "sweep", settings)


def names(chosen: Any) -> list[str]:
    return [run.name for run in chosen.runs]


# ---- choosing


def test_the_best_run_of_each_setting_comes_first_and_the_longest_lived_lost_ones_last(small):
    chosen = choose(read_rows(small, None), "best", 40)
    assert names(chosen) == [
        "01 lr=0.01 seed=0", "02 lr=0.1 seed=0", "03 diverged lr=2 seed=2",
        "04 diverged lr=1 seed=2",
    ]  # fmt: skip
    assert description(chosen)[0] == (
        f"4 of 12 runs of {small}: one run a setting: all 2 that ended well and all 2 that did not "
        "end well"
    )
    assert description(chosen)[1].split() == [
        "all", "python", "src/dashboard.py", f"run={small}", "choose=all",
    ]  # fmt: skip


def test_settings_stand_in_the_order_of_the_terminals_table_where_a_seed_was_lost(tmp_path):
    # 0.5 has the best run of all, but lost a seed: the summary puts it after those that lost none
    jobs = [({"optimizer.lr": "0.5", "seed": "0"}, "ok", 0.1, 9)]
    jobs += [({"optimizer.lr": "0.5", "seed": "1"}, "diverged", 9.0, 9)]
    jobs += [({"optimizer.lr": lr, "seed": s}, "ok", 1.0, 9) for lr in ("1", "2") for s in "01"]
    rows = read_rows(plant_sweep(tmp_path, jobs), None)
    assert names(choose(rows, "best", 40))[-1] == "03 lr=0.5 seed=0"
    assert names(choose(rows, "all", None))[0] == "01 lr=0.5 seed=0"


@pytest.mark.parametrize(
    ("most", "good", "lost"), [(40, 12, 6), (12, 10, 2), (10, 8, 2), (5, 4, 1), (4, 4, 0)]
)
def test_one_place_in_five_is_kept_for_settings_that_lost_every_run(tmp_path, most, good, lost):
    settings: dict[str, float | str] = {f"0.{i:02d}": float(i) for i in range(12)}
    settings |= {str(i): "diverged" for i in range(6)}
    chosen = choose(read_rows(planted(tmp_path, settings), None), "best", most)
    assert len(chosen.runs) == good + lost
    assert [name for name in names(chosen) if "diverged" in name] == names(chosen)[good:]
    best = [f"lr=0.{i:02d}" for i in range(good)]
    assert [name.split()[1] for name in names(chosen)[:good]] == best


def test_diverged_runs_alone_the_longest_lived_first(small):
    chosen = choose(read_rows(small, None), "diverged", 4)
    assert names(chosen) == [
        f"0{i + 1} diverged lr={lr} seed={seed}"
        for i, (lr, seed) in enumerate([("2", 2), ("2", 1), ("2", 0), ("1", 2)])
    ]


def test_none_diverged_is_one_sentence(tmp_path):
    rows = read_rows(planted(tmp_path, {"0.1": 1.0, "0.2": 2.0}), None)
    with pytest.raises(UserError, match=r"^No run of .* diverged; leave out choose=diverged\.$"):
        choose(rows, "diverged", 40)


def test_all_are_ranked_by_their_own_score(small):
    chosen = choose(read_rows(small, None), "all", None)
    assert len(chosen.runs) == 12
    # losses 1 and 2 with gaps .1 (seed 0), .3 (seed 1), .2 (seed 2)
    order = [(lr, seed) for lr in ("0.01", "0.1") for seed in (0, 2, 1)]
    assert names(chosen)[:6] == [f"{i:02d} lr={lr} seed={s}" for i, (lr, s) in enumerate(order, 1)]
    assert description(chosen) == [f"12 of 12 runs of {small}: best first"]


def test_a_sweep_over_seeds_alone_shows_every_seed(tmp_path):
    chosen = choose(read_rows(planted(tmp_path, {"0.1": 1.0}), None), "best", 40)
    assert names(chosen) == ["01 seed=0", "02 seed=2", "03 seed=1"]


def test_accuracy_is_ranked_from_the_top(tmp_path):
    for number, accuracy in enumerate((0.5, 0.9)):
        plant_run(tmp_path / str(number), {"seed": str(number)}, "ok", accuracy)
        result = json.loads((tmp_path / str(number) / "result.json").read_text())
        result |= {"optimized_metric": "val/accuracy", "best": None}
        result["metrics"] = {"val/accuracy": accuracy}
        (tmp_path / str(number) / "result.json").write_text(json.dumps(result))
    rows = read_rows(tmp_path, None)  # a sweep by its numbered runs: jobs.json was lost
    assert rows.metric == "val/accuracy"
    assert names(choose(rows, "best", 40)) == ["01 seed=1", "02 seed=0"]


def test_a_job_that_has_not_begun_is_no_run_yet(tmp_path):
    typed = [{"optimizer.lr": lr} for lr in ("0.1", "0.2", "0.3")]
    jobs = [(typed[0], "ok", 1.0, 9), (typed[1], "running", 9.0, 9), (typed[2], "not begun", 0, 0)]
    chosen = choose(read_rows(plant_sweep(tmp_path, jobs), None), "best", 40)
    assert names(chosen) == ["01 lr=0.1", "02 running lr=0.2"]
    assert description(chosen)[0].startswith("2 of 2 runs of ")
    assert description(chosen)[-1].startswith("note: 1 more job has recorded nothing: not begun,")


def test_names_are_short_where_no_two_options_end_alike():
    keys = ["optimizer.lr", "scheduler.lr", "data.batch_size", "seed"]
    assert list(short_names(keys).values()) == [
        "optimizer.lr", "scheduler.lr", "batch_size", "seed",
    ]  # fmt: skip


def test_a_name_is_one_directory_whatever_was_typed(tmp_path):
    values = ["a/b.csv", "..", "*?", "é" * 300]
    jobs = [({"data.path": value}, "ok", float(i), 9) for i, value in enumerate(values)]
    with log_directory(
        choose(read_rows(plant_sweep(tmp_path / "s", jobs), None), "best", 9)
    ) as root:
        made = sorted(p.name for p in root.iterdir())
    assert made[:3] == ["01 path=a_b.csv", "02 path=", "03 path=__"]
    assert made[3].startswith("04 path=éé")


# ---- what TensorBoard reads


def hparams(events: EventAccumulator) -> SimpleNamespace:
    """Return a run's columns, row, metrics and status as the HParams tab finds them."""
    found = {
        tag.split("/")[-1]: HParamsPluginData.FromString(content)
        for tag, content in events.PluginTagToContent("hparams").items()
    }
    experiment = found["experiment"].experiment
    row = found["session_start_info"].session_start_info.hparams
    return SimpleNamespace(
        columns={info.name: info for info in experiment.hparam_infos},
        metrics=[info.name.tag for info in experiment.metric_infos],
        row={key: getattr(value, value.WhichOneof("kind")) for key, value in row.items()},
        status=found["session_end_info"].session_end_info.status,
    )


def read(directory: Path) -> EventAccumulator:
    events = EventAccumulator(str(directory))
    events.Reload()
    return events


def test_each_entry_is_the_runs_own_file_behind_one_of_ours(small):
    chosen = choose(read_rows(small, None), "best", 40)
    with log_directory(chosen) as root:
        assert root.name == "sweep"
        assert sorted(p.name for p in root.iterdir()) == names(chosen)
        for shown in chosen.runs:
            _, own = sorted(p.name for p in (root / shown.name).iterdir())
            assert (root / shown.name / own).samefile(next(shown.directory.glob("events*")))
            series = read(root / shown.name).Scalars("by_step/train/step_loss")
            assert series == read(shown.directory).Scalars("by_step/train/step_loss")
    assert not root.parent.exists()
    assert len(list(small.glob("*/events.out.tfevents.*"))) == 12


def test_the_hparams_tab_gets_what_was_swept_the_status_and_the_best_metric(small):
    chosen = choose(read_rows(small, None), "best", 40)
    with log_directory(chosen) as root:
        read_back = [(read(root / name), name) for name in names(chosen)]
    tabs = [hparams(events) for events, _ in read_back]
    for tab in tabs:
        assert list(tab.columns) == ["status", "optimizer.lr", "seed"]
        assert tab.metrics == ["final/best/val/loss", "final/val/loss"]
    lr = tabs[0].columns["optimizer.lr"]
    assert (lr.domain_interval.min_value, lr.domain_interval.max_value) == (0.01, 2)
    status = tabs[0].columns["status"]
    assert [v.string_value for v in status.domain_discrete.values] == ["diverged", "ok"]
    assert [tab.row for tab in tabs] == [
        {"status": "ok", "optimizer.lr": 0.01, "seed": 0},
        {"status": "ok", "optimizer.lr": 0.1, "seed": 0},
        {"status": "diverged", "optimizer.lr": 2, "seed": 2},
        {"status": "diverged", "optimizer.lr": 1, "seed": 2},
    ]
    good, bad = Status.STATUS_SUCCESS, Status.STATUS_FAILURE
    assert [tab.status for tab in tabs] == [good, good, bad, bad]
    best = [events.Scalars("final/best/val/loss")[0].value for events, _ in read_back[:2]]
    assert best == [pytest.approx(1.1), pytest.approx(2.1)]
    assert "final/best/val/loss" not in read_back[2][0].Tags()["scalars"]


def test_words_and_numbers_in_one_column_are_words(tmp_path):
    jobs = [({"data.batch_size": size}, "ok", 1.0, 9) for size in ("16", "full")]
    chosen = choose(read_rows(plant_sweep(tmp_path, jobs), None), "best", 40)
    with log_directory(chosen) as root:
        rows = [hparams(read(root / name)).row for name in names(chosen)]
    assert [row["data.batch_size"] for row in rows] == ["16", "full"]


def test_single_runs_show_the_options_that_differ(tmp_path):
    for number, lr in enumerate(("0.1", "0.2", "0.3")):
        run = tmp_path / "runs" / f"run{number}"
        plant_run(run, {"optimizer.lr": lr, "model": "mlp"}, "ok", 1.0)
        for file in run.iterdir():
            os.utime(file, (1e9 + number, 1e9 + number))
    rows = read_rows(tmp_path / "runs", 2)
    chosen = choose(rows, "best", 2)
    assert names(chosen) == ["01 run2", "02 run1"]
    assert description(chosen)[0] == f"2 of 3 runs of {tmp_path / 'runs'}: the latest"
    with log_directory(chosen) as root:
        tab = hparams(read(root / "01 run2"))
    assert tab.row == {"status": "ok", "optimizer.lr": 0.3}
    assert tab.metrics == ["final/val/loss"]


def test_one_run_shows_all_its_options(tmp_path):
    plant_run(tmp_path / "run", {"optimizer.lr": "0.1", "model": "mlp"}, "ok", 1.0)
    chosen = choose(read_rows(tmp_path / "run", 40), "best", 40)
    assert names(chosen) == ["01 run"]
    with log_directory(chosen) as root:
        row = hparams(read(root / "01 run")).row
    assert row == {"status": "ok", "optimizer.lr": 0.1, "model": "mlp"}


@pytest.mark.parametrize("refused", [["symlink"], ["symlink", "link"]])
def test_where_links_cannot_be_made_the_files_are_there_all_the_same(small, monkeypatch, refused):
    def refuse(*_: object) -> None:
        raise OSError("links are not allowed here")

    for name in refused:
        monkeypatch.setattr(logdir.os, name, refuse)
    chosen = choose(read_rows(small, None), "best", 1)
    with log_directory(chosen) as root:
        (own,) = (root / "01 lr=0.01 seed=0").glob("events.out.tfevents.[1-9]*")
        source = next(chosen.runs[0].directory.glob("events*"))
        assert not own.is_symlink()
        assert own.samefile(source) == (refused == ["symlink"])
        assert own.read_bytes() == source.read_bytes()
    assert source.is_file()


def test_no_room_is_one_sentence_and_leaves_nothing(small, monkeypatch, tmp_path):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(logdir.tempfile, "tempdir", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(logdir, "link", full)
    chosen = choose(read_rows(small, None), "best", 1)
    with (
        pytest.raises(UserError, match="No space left on device; set TMPDIR"),
        log_directory(chosen),
    ):
        pass
    assert list((tmp_path / "temp").glob("descent-*")) == []
    monkeypatch.setattr(logdir.tempfile, "mkdtemp", full)
    with (
        pytest.raises(UserError, match="No space left on device; set TMPDIR"),
        log_directory(chosen),
    ):
        pass


# ---- finding


def test_the_latest_multirun_is_found_by_when_it_was_written(tmp_path):
    for name, when in (("b_old", 1e9), ("a_new", 2e9)):
        sweep = planted(tmp_path / "multiruns" / name, {"0.1": 1.0, "0.2": 2.0})
        os.utime(sweep / "jobs.json", (when, when))
    (tmp_path / "multiruns" / "begun").mkdir()
    (tmp_path / "multiruns" / "begun" / "multirun.yaml").write_text("hydra: {}\n")
    assert find(None, tmp_path) == tmp_path / "multiruns" / "a_new"
    plant_run(tmp_path / "runs" / "one", {}, "ok", 1.0)
    assert find(None, tmp_path) == tmp_path / "multiruns" / "a_new"


def test_without_a_multirun_the_latest_runs_are_found(tmp_path):
    plant_run(tmp_path / "runs" / "one", {}, "ok", 1.0)
    assert find(None, tmp_path) == tmp_path / "runs"


def test_a_whole_outputs_directory_shows_runs_of_every_kind(tmp_path):
    planted(tmp_path / "multiruns" / "one", {"0.1": 1.0})
    plant_run(tmp_path / "runs" / "two", {"optimizer.lr": "0.5"}, "diverged", 1.0)
    chosen = choose(read_rows(tmp_path, None), "all", None)
    assert sorted(name.split(" ", 1)[1] for name in names(chosen)) == [
        "diverged runs_two", *(f"multiruns_one_{i}" for i in range(3)),
    ]  # fmt: skip
    assert names(choose(read_rows(tmp_path, None), "diverged", 40)) == ["01 diverged runs_two"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (None, "holds no multirun and no run to show; train some first: python src/train.py -m"),
        ("none", "none does not exist; give the directory of a multirun or a run: run="),
        ("file", "file is a file; give the directory of a multirun or a run: run="),
        ("empty", "empty holds no run that recorded an event file yet; wait for the first to end"),
    ],
)
def test_nothing_to_show_is_one_sentence_on_what_to_do(tmp_path, given, sentence):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=re.escape(sentence)):
        read_rows(find(given and str(tmp_path / given), tmp_path / "outputs"), 40)


# ---- what is not trusted


def test_runs_that_ask_for_what_is_not_trusted_are_told_and_those_that_cannot_be_read(small):
    chosen = choose(read_rows(small, None), "all", None)
    first, other = (run.directory for run in chosen.runs[:2])
    evil = CONFIG.replace("model: {}", "model: {_target_: evil.Evil}")
    (first / "config.yaml").write_text(evil)
    asks = f"{first} asks to run 'evil.Evil' (model._target_), which is not among the trusted"
    assert description(chosen)[1:] == [f"note: {asks} packages; a dashboard runs nothing."]
    (other / "config.yaml").write_text("seed: 0\n")
    several = "note: 2 of these runs are not to be trusted; of the first:"
    assert description(chosen)[1:] == [several, f"note: {asks} packages; a dashboard runs nothing."]
    (first / "config.yaml").write_text("a: &a [x]\n")
    assert re.search(r"config\.yaml is damaged and .*; a dashboard", description(chosen)[2])


# ---- addresses


def test_links_hide_what_diverged_and_overlay_the_best_four(small, tmp_path):
    pages = addresses("http://localhost:6006/", choose(read_rows(small, None), "best", 40))
    assert pages == {
        "curves": "http://localhost:6006/?runFilter=^(?!.*diverged)",
        "losses": "http://localhost:6006/#custom_scalars&regexInput=^0[1-2]&_smoothingWeight=0",
        "options": "http://localhost:6006/#hparams",
    }
    many = choose(
        read_rows(planted(tmp_path / "m", {str(i): float(i) for i in range(1, 40)}), None),
        "all",
        None,
    )
    pages = addresses("http://localhost:6006/", many)
    assert pages["curves"] == "http://localhost:6006/"
    assert "regexInput=^00[1-4]&" in pages["losses"]
    pattern = re.compile("^00[1-4]")
    assert len([name for name in names(many) if pattern.match(name)]) == 4
    few = choose(read_rows(tmp_path / "m", None), "best", 3)
    assert addresses("x", few)["losses"] == "x/#custom_scalars&_smoothingWeight=0"


# ---- the command


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Return a function that types `python src/dashboard.py ...` and reads up to `Ctrl-C ends it.`

    Temporary files go to a directory of the test's own; what still runs is killed at the end.
    """
    begun: list[subprocess.Popen[str]] = []
    (tmp_path / "temp").mkdir(exist_ok=True)

    def start(*words: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "src" / "dashboard.py"), *words], text=True, cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(tmp_path / "temp")}, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        begun.append(process)
        said = ""
        while "Ctrl-C ends it." not in said and (line := process.stdout.readline()):
            said += line
        return process, said

    yield start
    for process in begun:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stderr.close()


def ask(address: str, page: str, **body: Any) -> Any:
    request = urllib.request.Request(
        address + page, json.dumps(body).encode() if body else None,
        {"Content-Type": "application/json"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def alive(group: int) -> bool:
    """Whether any process of a group is left; zombies nobody has waited for do not count."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after_name[2]) == group and after_name[0] != "Z":
            return True
    return False


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's /proc")
def test_tensorboard_serves_the_chosen_runs_to_this_machine_until_ctrl_c(small, start, tmp_path):
    process, said = start(f"run={small}", "port=0")
    address = re.search(r"^options +(http://localhost:(\d+)/)#hparams$", said, re.MULTILINE)
    chosen = ["01 lr=0.01 seed=0", "02 lr=0.1 seed=0", "03 diverged lr=2 seed=2"]
    chosen.append("04 diverged lr=1 seed=2")
    deadline = time.monotonic() + 20
    while ask(address[1], "data/runs") != chosen:  # by rank; it loads them while it serves
        assert time.monotonic() < deadline
        time.sleep(0.1)
    experiment = ask(address[1], "data/plugin/hparams/experiment", experimentName="")
    assert {info["name"] for info in experiment["hparamInfos"]} == {
        "optimizer.lr", "seed", "status",
    }  # fmt: skip
    statuses = ["STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING", "STATUS_UNKNOWN"]
    wanted = {"allowedStatuses": statuses, "startIndex": 0, "sliceSize": 99, "colParams": []}
    groups = ask(address[1], "data/plugin/hparams/session_groups", **wanted)["sessionGroups"]
    table = {group["name"]: group for group in groups}
    assert sorted(table) == chosen
    assert [table[name]["hparams"]["optimizer.lr"] for name in chosen] == [0.01, 0.1, 2, 1]
    assert [table[name]["sessions"][0]["status"] for name in chosen] == [
        *["STATUS_SUCCESS"] * 2, *["STATUS_FAILURE"] * 2,
    ]  # fmt: skip
    metrics = {m["name"]["tag"]: m["value"] for m in table[chosen[1]]["metricValues"]}
    assert metrics == {
        "final/best/val/loss": pytest.approx(2.1), "final/val/loss": pytest.approx(3.1),
    }  # fmt: skip
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path("/proc/net", table).read_text().splitlines()[1:]
        if line.split()[3] == "0A"
        and int(line.split()[1].rpartition(":")[2], 16) == int(address[2])
    ]
    assert [place.partition(":")[0] for place in listening] == ["0100007F"]  # 127.0.0.1

    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")
    assert not alive(process.pid)
    assert list((tmp_path / "temp").glob("descent-*")) == []


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="reads Linux's /proc")
def test_kill_ends_the_server_too(small, start, tmp_path):
    process, said = start(f"run={small}", "choose=all", "port=0")
    assert said.startswith(f"12 of 12 runs of {small}: best first\n")
    process.terminate()  # this process alone, not its group
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (128 + signal.SIGTERM, "")
    assert not alive(process.pid)
    assert list((tmp_path / "temp").glob("descent-*")) == []


def test_a_port_in_use_is_one_sentence(small, start):
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"^Port {port} cannot be used"):
            check_port(port)
        process, said = start(f"run={small}", f"port={port}")
        err = process.stderr.read()
    assert process.wait() == 2
    assert re.fullmatch(
        rf"error: Port {port} cannot be used \(Address already in use\), perhaps another dashboard "
        r"has it; give another port=\.\.\., or leave it out to take the next free one\.\n", err
    )  # fmt: skip
    assert "http" not in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["choose=worst"], "choose=worst does not fit: it must be best, diverged or all."),
        (["most=0"], "most=0 does not fit: it must be a whole number of at least 1 or null."),
        (["port=70000"], "port=70000 does not fit: it must be a whole number of at least 0 and"),
        (["chose=all"], "There is no option 'chose'; did you mean 'choose'?"),
        ([], "outputs holds no multirun and no run to show; train some first: python src/train.py"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(type_command, words, sentence):
    done = type_command("dashboard", *words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {sentence}")
    assert done.stderr.count("\n") == 1
