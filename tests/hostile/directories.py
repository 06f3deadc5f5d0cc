"""Run and multirun directories that somebody tampered with, each with what must come of it.

Every case copies a run or a multirun that was trained, changes one thing in it, and gives it to one
command. Whatever the change, nothing of it may be run: `Touch` and every node below would make the
file `owned`, which no command may make.
"""

# ruff: noqa: E501 - tables of cases, a line each

from __future__ import annotations

import pickle
import shutil
import socket
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hostile import checkpoints
from hostile.changes import Change, array, config, cut, fields, flipped, put, special, state, text
from hostile.warm import Case

# The commands that read a run, and what they may leave behind in or beside it when they work.
READERS = {
    "eval": ("eval run=run accelerator=cpu", ()),
    "predict": ("eval run=run accelerator=cpu data.path=new.csv predict=out.csv", ("out.csv",)),
    "report": ("report run=run", ("run/report*",)),
    "resume": ("train resume=run stop.epochs=3", ("run/*", "run*")),
    "export": ("export run=run format=state_dict", ("run/model.pt*",)),
    "load": ("../tests/hostile/loading run", ()),
}
SWEEP_READERS = {
    "sweep report": ("report sweep=sweep", ("sweep/report*",)),
    "sweep jobs": ("report run=sweep output=out", ("out*",)),
    "sweep compare": ("report sweep=[sweep,other] output=out", ("out*",)),
    "sweep load": ("../tests/hostile/loading sweep", ()),
}
BUILDS = ("sweep report", "sweep jobs")  # and say what they did not run
# A dashboard serves until Ctrl-C. With a port that others have it reads and lays out everything,
# and ends where it would have begun to serve.
_TAKEN = socket.create_server(("localhost", 0))
DASHBOARD = f"dashboard run={{}} port={_TAKEN.getsockname()[1]}"
DAMAGED = r"is damaged and cannot be read: "


class Touch:
    """Makes the file `owned` when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("owned"),)


# ---- code

LOAD = {"_target_": "joblib.load", "filename": "evil.joblib"}
SYSTEM = {"_target_": "os.system", "command": "touch owned"}
NODES = {
    "os.system": SYSTEM,
    "Path.touch": {"_target_": "pathlib.Path.touch", "_args_": [{"_target_": "pathlib.Path", "_args_": ["owned"]}]},
    "joblib": LOAD,
    "torch.load": {"_target_": "torch.load", "f": "evil.pt", "weights_only": False},
    "np.load": {"_target_": "numpy.load", "file": "evil.npy", "allow_pickle": True},
    "eval": {"_target_": "builtins.eval", "_args_": ["__import__('os').system('touch owned')"]},
    "import": {"_target_": "descent.records.run.os.system", "command": "touch owned"},
    "instantiate": {"_target_": "hydra.utils.instantiate", "config": SYSTEM},
    "build": {"_target_": "descent.config.check.build", "node": SYSTEM, "where": "x"},
    "evil": {"_target_": "evil.Evil"},
}  # fmt: skip
PLACES = ("model", "data.source", "optimizer", "scheduler", "callbacks.progress", "callbacks.evil",
          "logger.evil", "metrics.evil", "trainer", "trainer.profiler", "trainer.strategy")  # fmt: skip
INSIDE = ("model.init", "data.source.rows", "optimizer.lr", "scheduler.gamma", "callbacks.path.points",
          "trainer.precision", "stop.loss", "penalty.l1", "extra.deep.er", "paths.outputs")  # fmt: skip
REFERENCES = (
    r"\${oc.create:{_target_:joblib.load,filename:evil.joblib}}",
    "${oc.create:{_target_:joblib.load,filename:evil.joblib}}",
    "${oc.env:HOME}",
    r"\\\${oc.env:HOME}",
    "${descent.run_dir:a,b}",
    "${seed}",
    "a${oc.decode:'[1]'}b",
    r"${oc.create:${oc.decode:'{_target_: os.system, command: touch owned}'}}",
)
# Names that are none, and such as lead elsewhere by way of a module that is listed.
ODD_TARGETS: tuple[Any, ...] = (
    ["os.system"], {"a": 1}, 3, None, True, "", "os.system ", "ｏｓ.system", "torch.nn..Linear",
    "torch.nn.Linear\n", "torch.nn.modules.os.Linear", "descent.models.linear.nn.Linear",
    "descent.models.mlp.MLP.__init__", "lightning.pytorch.callbacks.os.Timer",
)  # fmt: skip
# What report builds of a run of the digits: its data, and the model if it draws a surface.
REFUSED = (
    r"asks to run|is damaged|does not fit|gives |is missing|no argument|not a config|lacks|not say"
    r"|cannot be found"
)


def code() -> Iterator[tuple[str, Change, str]]:
    """Yield names and changes that try to run something, and what every reader says of them."""
    for number, place in enumerate(PLACES):
        for name, node in list(NODES.items())[number % 3 :: 3]:
            yield f"{name} at {place}", put(place, node), REFUSED
    for number, place in enumerate(INSIDE):
        for name, node in list(NODES.items())[number % 4 :: 4]:
            yield f"{name} inside {place}", put(place, node), REFUSED
    for number, place in enumerate(("model.init", "data.source._target_", "optimizer._target_",
                                    "scheduler.gamma", "callbacks.evil._target_", "name",
                                    "trainer.accelerator", "paths.outputs", "extra.list")):  # fmt: skip
        for reference in REFERENCES[number % 2 :: 2]:
            value = [[reference]] if place.endswith("list") else reference
            yield f"{reference[:24]} at {place}", put(place, value), DAMAGED + ".* a reference to"
    yield "a reference as a key", put("extra", {"${seed}": 1}), DAMAGED + ".* a reference to"
    for key, value in (
        ("_args_", [1]),
        ("_recursive_", False),
        ("_convert_", "all"),
        ("_partial_", True),
    ):
        for place in ("model", "data.source", "callbacks.progress", "stop"):
            if (place, key) != ("model", "_args_"):
                yield f"{key} at {place}", put(f"{place}.{key}", value), r"asks to run|may not set"
    evil = ("model", {"_target_": "evil.Evil"})
    for key, value in (("trust", ["evil"]), ("hydra", {"launcher": SYSTEM})):
        both = (put(*evil), put(key, value))
        yield (
            f"{key} says so itself",
            lambda run, both=both: [c(run) for c in both] and None,
            REFUSED,
        )
    for number, target in enumerate(ODD_TARGETS):
        place = ("model", "callbacks.evil")[number % 2]
        yield f"the target {target!r} at {place}", put(f"{place}._target_", target), REFUSED
    for tag in ("!!python/object/apply:os.system ['touch owned']", "!!python/name:os.system",
                "!!python/object/new:os.system ['touch owned']", "!!int 3", "!evil x"):  # fmt: skip
        yield f"the tag {tag[:20]}", append(f"extra: {tag}\n"), DAMAGED + ".* YAML tag"


def append(line: str) -> Change:
    """Return a change that adds a line to config.yaml."""
    return lambda run: text("config.yaml", (run / "config.yaml").read_text() + line)(run)


# ---- damage

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
)


def whole_files(file: str) -> Iterator[tuple[str, Change]]:
    """Yield what any file may become."""
    for kind in ("fifo", "directory", "device", "loop", "huge"):
        yield f"{file} a {kind}", special(file, kind)
    yield f"{file} empty", text(file, "")
    yield f"{file} of zeros", text(file, bytes(500))
    yield f"{file} of noise", text(file, np.random.default_rng(0).bytes(500))
    yield f"{file} cut", cut(file, 40)


def damage() -> Iterator[tuple[str, tuple[str, ...], Change, str | None]]:
    """Yield names, who reads it, changes, and what they say."""
    everybody = tuple(READERS)
    trained = ("eval", "predict", "resume")
    for name, change in whole_files("config.yaml"):
        yield name, everybody, change, r"config\.yaml|is not a config|no config"
    for name, change in whole_files("data.json"):
        yield name, everybody, change, r"data\.json"
    for name, change in whole_files("result.json"):
        yield name, ("eval", "report", "resume"), change, r"result\.json"
    for name, change in whole_files("checkpoints/last.ckpt"):
        yield name, ("resume",), change, r"last\.ckpt"
    for name, change in whole_files("checkpoints/best.ckpt"):
        yield name, ("predict",), change, r"best\.ckpt"
    for name, change in whole_files("path.npz"):
        yield name, ("report",), change, r"path\.npz"
    for name, change in whole_files("steps.csv"):
        yield name, ("report", "resume"), change, r"steps\.csv"
    for name, change in whole_files("epochs.csv"):
        yield name, ("report", "resume"), change, r"epochs\.csv"

    for file, reader in {
        "config.yaml": "eval", "data.json": "predict", "result.json": "report",
        "checkpoints/last.ckpt": "resume", "checkpoints/best.ckpt": "predict",
        "path.npz": "report", "steps.csv": "report", "epochs.csv": "resume",
    }.items():  # fmt: skip
        for at in (0.1, 0.4, 0.7):  # which may be a digit: then nobody can know
            yield f"{file} with a bit turned at {at}", (reader,), flipped(file, at), None

    yield "laughs", everybody, append(LAUGHS), DAMAGED + ".*anchor"
    yield "a merge", everybody, append("<<: {seed: 3}\n"), DAMAGED + ".*merge"
    yield "a key twice", everybody, append("seed: 3\n"), DAMAGED + ".*twice"
    yield "a deep list", everybody, append("x: " + "[" * 9000), DAMAGED + ".*nested"
    yield "two documents", everybody, append("---\nseed: 3\n"), DAMAGED + ".*document"
    for group in (
        "data",
        "model",
        "optimizer",
        "scheduler",
        "trainer",
        "stop",
        "callbacks",
        "penalty",
    ):
        for value in ([1], "x", 5):
            yield f"{group} {value}", everybody, put(group, value), DAMAGED + f".*{group}"
    for node in ("callbacks.x", "logger.x", "data.source", "data.augment"):
        yield f"{node} 5", everybody, put(node, 5), DAMAGED + f".*{node}"
    for key in ("seed", "data", "model"):

        def without(values: dict[str, Any], key: str = key) -> None:
            del values[key]

        yield f"no {key}", everybody, config(without), "is not a config of Descent"
    yield "seed a text", trained, put("seed", "x"), "seed=x does not fit"
    yield "a wide model", trained, put("model.hidden", [10**9]), "GiB|does not fit|memory"
    yield "no target", trained, put("model", {"hidden": [3]}), "model"

    for name, given in {
        "outputs 10^9": {"outputs": 10**9}, "outputs -1": {"outputs": -1}, "outputs 2": {"outputs": 2},
        "outputs a text": {"outputs": "3"}, "task other": {"task": "binary"}, "no task": {"task": 3},
        "rows empty": {"rows": {}}, "rows texts": {"rows": {"train": "a", "val": "b", "test": "c"}},
        "columns numbers": {"columns": [{"name": 3, "categories": None}]}, "columns none": {"columns": []},
        "columns texts": {"columns": ["a", "b"]}, "classes two": {"classes": ["a", "b"]},
        "classes numbers": {"classes": [1, 2, 3]}, "classes twice": {"classes": ["a", "a", "b"]},
        "scaler cut": {"scaler": {"offset": [1.0], "scale": [1.0]}},
        "scaler zero": {"scaler": {"offset": [0.0] * 4, "scale": [0.0] * 4}},
        "scaler negative": {"scaler": {"offset": [0.0] * 4, "scale": [-1.0] * 4}},
        "scaler texts": {"scaler": {"offset": ["a"] * 4, "scale": ["b"] * 4}},
        "scaler a list": {"scaler": [1, 2]}, "scaler none": {"scaler": None},
        "target scaler": {"target_scaler": {"offset": [], "scale": []}},
        "target a list": {"target": ["a"]}, "fingerprint a number": {"fingerprint": 5},
    }.items():  # fmt: skip
        yield (
            f"data.json: {name}",
            everybody,
            fields("data.json", **given),
            r"data\.json " + DAMAGED,
        )
    for name, given in {
        "threads a text": {"threads": "abc"}, "threads -5": {"threads": -5}, "threads a list": {"threads": [1]},
        "threads 10^9": {"threads": 10**9}, "metrics a list": {"metrics": [1, 2]}, "best a list": {"best": [1]},
        "overrides 5": {"overrides": 5}, "overrides numbers": {"overrides": [1]}, "step a text": {"step": "x"},
        "step -1": {"step": -1}, "epoch 1.5": {"epoch": 1.5}, "status other": {"status": "great"},
        "metrics texts": {"metrics": {"test/loss": "abc"}}, "seconds a list": {"seconds": []},
        "reason 3": {"reason": 3}, "versions 3": {"versions": 3}, "weights 3": {"weights": 3},
        "best metrics": {"best": {"epoch": 1, "step": 1, "metrics": [1]}}, "samples": {"samples": "x"},
    }.items():  # fmt: skip
        change = fields("result.json", **given)
        yield (
            f"result.json: {name}",
            ("eval", "report", "resume"),
            change,
            r"result\.json " + DAMAGED,
        )
    for name, letters in {"half a letter": "\\ud800", "its other half": "x\\udfff"}.items():
        broken = f'{{"status": "ok", "reason": "{letters}", "step": 1, "epoch": 1}}'
        says = DAMAGED + ".*surrogate"
        yield f"result.json: {name}", ("eval", "report", "load"), text("result.json", broken), says
    many = '{"x": [' + "[]," * 21_000_000 + "[]]}"
    yield "result.json: many lists", ("eval",), text("result.json", many), DAMAGED + ".*values"
    nested = text("result.json", '{"status": "ok", "x": ' + "[" * 5000 + "]" * 5000 + "}")
    yield "result.json: deep", ("eval", "report", "resume"), nested, DAMAGED + ".*nested"

    def drop(key: str) -> Callable[[dict[str, Any]], None]:
        def change(values: dict[str, Any]) -> None:
            del values[key]  # and returns nothing, which would be taken for another state

        return change

    for key in ("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "global_step",
                "epoch", "descent"):  # fmt: skip
        yield f"last.ckpt: no {key}", ("resume",), state(drop(key)), rf"last\.ckpt {DAMAGED}.*{key}"

        def wrong(values: dict[str, Any], key: str = key) -> None:
            values[key] = 1.5

        yield f"last.ckpt: {key} 1.5", ("resume",), state(wrong), rf"last\.ckpt {DAMAGED}.*{key}"
    for name, made in {"{}": {}, "a list": [1, 2], "a number": 3, "Touch": Touch()}.items():
        yield (
            f"last.ckpt: {name}",
            ("resume",),
            state(lambda _, made=made: made),
            r"last\.ckpt " + DAMAGED,
        )
        yield (
            f"best.ckpt: {name}",
            ("eval",),
            state(lambda _, made=made: made, "best"),
            r"best\.ckpt",
        )
    for name, change, who in checkpoints.damage():
        readers = ("resume",) if who == "last" else ("predict", "export")
        yield f"{who}.ckpt: {name}", readers, change, rf"{who}\.ckpt"
    yield "path.npz of objects", ("report",), array(theta=np.array([Touch()], object)), "objects?"
    yield "path.npz of one step", ("report",), array(steps=np.array([1])), r"path\.npz " + DAMAGED
    yield "path.npz of other shapes", ("report",), array(shapes=np.array('{"a": [2]}')), "shape"
    yield "path.npz of no shapes", ("report",), array(shapes=np.array('{"a": "b"}')), "shapes"
    yield "path.npz compressed", ("report",), compressed, "compressed"
    for file in ("steps.csv", "epochs.csv", "events.out.tfevents.*"):
        yield f"{file} short", ("resume",), cut(file, 100), "cut short"
    wide = ",".join(map(str, range(50_000))) + "\n"
    yield "steps.csv of 50,000 columns", ("report",), text("steps.csv", wide * 2), "columns"
    yield "steps.csv other", ("report",), text("steps.csv", "step,loss\n1,a\n"), "no number"
    yield "steps.csv back", ("report",), text("steps.csv", "step,loss\n2,1\n1,1\n"), "do not rise"


def compressed(run: Path) -> None:
    """Pack path.npz."""
    with zipfile.ZipFile(run / "path.npz") as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(run / "path.npz", "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in members.items():
            new.writestr(name, content)


LEFT = "holds a finished run of another config"  # by sweep_dir=, which reads it as a text


def linked(name: str, kind: str) -> Change:
    """Return a change of a job's directory to a link."""

    def apply(sweep: Path) -> None:
        job, theirs = sweep / name, sweep.parent / "theirs"
        if kind == "elsewhere":
            job.rename(theirs)
        else:
            shutil.rmtree(job)
        target = {"elsewhere": theirs, "nowhere": sweep / "x", "itself": job, "its sweep": sweep}
        job.symlink_to(target[kind])

    return apply


def sweep_damage() -> Iterator[tuple[str, Change, str | None]]:
    """Yield names, changes of a multirun, and what `sweep_dir=` says; None where it may work."""
    for kind in ("fifo", "directory", "device", "huge"):
        yield f"jobs.json a {kind}", special("jobs.json", kind), r"jobs\.json"
        yield f"results.csv a {kind}", special("results.csv", kind), None
        lost = "holds a finished run" if kind == "huge" else "would be lost"
        yield f"0/config.yaml a {kind}", special("0/config.yaml", kind), lost
    for kind in ("elsewhere", "nowhere", "itself", "its sweep"):
        yield f"0 a link, {kind}", linked("0", kind), "is a link"
    for name, content in {
        "[{}]": "[{}]", "{}": "{}", "3": "3", "text": "[", "deep": "[" * 5000,
        "outside": '[{"number": 0, "directory": "../../x", "overrides": []}]',
        "absolute": '[{"number": 0, "directory": "/etc", "overrides": []}]',
        "number": '[{"number": "0", "directory": "0", "overrides": []}]',
        "overrides": '[{"number": 0, "directory": "0", "overrides": 5}]',
        "nan": '[{"number": NaN, "directory": "0", "overrides": []}]',
    }.items():  # fmt: skip
        yield f"jobs.json {name}", text("jobs.json", content), r"jobs\.json " + DAMAGED
    for name, node in list(NODES.items())[::2]:
        for place in ("model", "data.source", "callbacks.evil"):
            change = put(place, node)
            yield f"0: {name} at {place}", in_all(change), LEFT
    for reference in REFERENCES[:4]:
        yield f"0: {reference[:20]}", in_all(put("model.init", reference)), LEFT


def in_all(change: Change) -> Change:
    """Return a change made in every job."""
    return lambda sweep: [change(job) for job in sweep.iterdir() if job.name.isdigit()] and None


# ---- the cases

TRAINED = (
    "train data=iris model=mlp model.hidden=[3] optimizer=momentum stop.epochs=2 picture=false"
)
SWEPT = "train -m data=iris model=linear stop.epochs=2 seed=0,1 report=false"
SWEEP_DIR = (f"{SWEPT} sweep_dir=sweep", ("sweep/*", "outputs/*"))
FILES = {
    "new.csv": "sepal length (cm),sepal width (cm),petal length (cm),petal width (cm)\n5,3,1.4,0.2\n",
    "evil.py": "from pathlib import Path\nPath('owned').touch()\nclass Evil: ...\n",
    **{f"evil.{suffix}": pickle.dumps(Touch()) for suffix in ("joblib", "pt", "npy")},
}
HYDRAS = ("sweep/multirun.yaml", "run/train.log")  # written by Hydra before anything is asked
MAY_WORK = "(it may work)"  # in a name: what is tampered with is not read by this command


def cases(run: Path, sweep: Path) -> Iterator[Case]:
    """Yield every case; the directories are copied, and stay as they are."""
    for name, change, says in code():
        for reader in READERS:
            # a report draws what it need not build, and says what it did not run
            drawn = reader == "report" and not says.startswith(DAMAGED)
            told, shows = (None, [says]) if drawn else (says, [])
            yield _case(name, reader, READERS[reader], run, change, told, shows)
        yield _case(name, "dashboard", (DASHBOARD.format("run"), ()), run, change, ".")
    for number, (name, readers, change, says) in enumerate(damage()):
        for reader in readers:
            yield _case(name, reader, READERS[reader], run, change, says)
        if number % 2 == 0:  # the others are of the same kinds
            yield _case(name, "dashboard", (DASHBOARD.format("run"), ()), run, change, ".")
    for name, change, says in sweep_damage():
        for reader, command in SWEEP_READERS.items():
            code_of = [REFUSED if says == LEFT and reader in BUILDS else ""]
            yield _case(name, reader, command, sweep, change, None, code_of)
        yield _case(name, "dashboard", (DASHBOARD.format("sweep"), ()), sweep, change, ".")
        yield _sweep_dir(name, sweep, change, says)


def _sweep_dir(name: str, sweep: Path, change: Change, says: str | None) -> Case:
    """Return the case of going on with a multirun.

    What is another config's stays, and the job goes elsewhere; what costs one job alone is listed
    with it; all else is refused.
    """
    if says == LEFT:
        return _case(name, "sweep_dir", SWEEP_DIR, sweep, change, None, [says])
    if says in ("is a link", "holds a finished run"):
        case = _case(name, "sweep_dir", SWEEP_DIR, sweep, change, None, [says])
        return replace(case, name=f"sweep_dir: {name}", code=1)
    return _case(name, "sweep_dir", SWEEP_DIR, sweep, change, says)


def _case(
    name: str, reader: str, command: tuple[str, tuple[str, ...]], source: Path, change: Change,
    says: str | None, shows: Sequence[str] = (),
) -> Case:  # fmt: skip
    free = says is None

    def arrange(directory: Path) -> None:
        shutil.copytree(source, directory / source.name)
        if source.name == "sweep":
            shutil.copytree(source, directory / "other")
        change(directory / source.name)

    return Case(
        f"{reader}: {name}{MAY_WORK if free else ''}", command[0], says=None if free else says,
        files=FILES, arrange=arrange, makes=command[1] if free else HYDRAS, shows=shows,
        environment={"PYTHONPATH": "."},
    )  # fmt: skip
