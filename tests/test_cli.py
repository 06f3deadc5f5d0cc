"""Every mistake gets one sentence that names it, exit code 2, and leaves nothing behind."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from descent.config.check import flatten, plain
from descent.config.vocabulary import ALIASES
from descent.data.prepare import prepare
from descent.errors import UserError
from descent.evaluation import evaluate, open_evaluation
from descent.job import Job
from descent.records.run import Run

ROOT = Path(__file__).parents[1]
LEFT_OUT = ("hidden", "activation", "dropout", "init")  # of model=mlp, for classes without them

Refused = Callable[..., str]
Make = Callable[..., Any]


def contents(directory: Path) -> dict[str, bytes | None]:
    """All files with their bytes, and the run directories; None stands for a directory."""
    found = {str(p.relative_to(directory)): p for p in directory.rglob("*")}
    return {
        name: p.read_bytes() if p.is_file() else None
        for name, p in found.items()
        if p.is_file() or p.parent.name == "runs"
    }


@pytest.fixture
def refused(type_command: Make, tmp_path: Path) -> Refused:
    """Type a command that must be refused, and return its one sentence."""

    def run(script: str, *arguments: str) -> str:
        before = contents(tmp_path)
        done = type_command(script, *arguments)
        assert "Traceback" not in done.stdout + done.stderr
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert len(done.stderr.splitlines()) == 1
        assert done.stdout == ""
        assert contents(tmp_path) == before
        return done.stderr.removeprefix("error: ").rstrip("\n")

    return run


# ---- options, typed


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("optimizer=momentm", "optimizer=momentm does not exist; did you mean 'momentum'? "
         "conf/optimizer/ has adagrad, adam,"),
        ("experiment=zzz", "experiment=zzz does not exist. conf/experiment/ has "),
        ("optimizer.momentun=0.5",
         "There is no option 'optimizer.momentun'; did you mean 'optimizer.momentum'?"),
        ("modle=mlp", "There is no option 'modle'; did you mean 'model'?"),
        ("lr=0.1", "There is no option 'lr'; did you mean 'optimizer.lr'?"),
        ("trainer.max_epochs=3",
         "There is no option 'trainer.max_epochs'; did you mean 'stop.epochs'?"),
        ("zzz=1", "There is no option 'zzz'. To add a new option on purpose, write +zzz=..."),
        ("+stop.epochs=1", "stop.epochs exists already; leave out the '+'."),
        ("optimizer.lr=[", "An override cannot be read: "),
        ("optimizer.lr=0", "optimizer.lr=0 does not fit: it must be a number above 0."),
        ("data=table", "data.path is not set; give it on the command line: data.path=..."),
        ("stop.epochs=null",
         "Nothing would end this run: give stop.epochs, stop.steps or both a number."),
        ("name=${nope}", "The config does not fit together: Interpolation key 'nope' not found."),
    ],
    ids=lambda value: value if " " not in value else "",
)  # fmt: skip
def test_a_mistyped_option_gets_one_sentence(typed: str, sentence: str, refused: Refused) -> None:
    assert refused("train", typed).startswith(sentence)


def test_a_mistake_in_a_sweep_gets_one_sentence(type_command: Make) -> None:
    done = type_command("train", "-m", "optimizer.lr=0,1")
    assert done.returncode == 2
    assert done.stderr == (
        "error: Job 0 (optimizer.lr=0): optimizer.lr=0 does not fit: it must be a number above 0.\n"
    )


def test_every_alias_leads_to_an_option_that_exists() -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        options = dict(flatten(OmegaConf.to_container(compose("train"))))
    assert set(ALIASES.values()) <= options.keys()
    assert not ALIASES.keys() & options.keys()


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("data.batch_size=abc", "a whole number of at least 1 or full"),
        ("data.batch_size=0", "a whole number of at least 1 or full"),
        ("data.batch_size=2.5", "a whole number of at least 1 or full"),
        ("model.hidden=3", "a list, each item a whole number of at least 1"),
        ("model.hidden=[3,a]", "a list, each item a whole number of at least 1"),
        ("picture=maybe", "true or false or auto"),
        ("optimizer.lr=-1", "a number above 0"),
        ("optimizer.lr=nan", "a number above 0"),
        ("optimizer.lr=1e400", "a number above 0"),
        ("data.val_fraction=1", "a number of at least 0 and below 1"),
        ("data.scale=z", "standardize, together, minmax or none"),
        ("seed=-1", "a whole number of at least 0"),
    ],
)
def test_a_value_that_does_not_fit_is_told_what_would(
    typed: str, words: str, make_job: Make
) -> None:
    with pytest.raises(UserError, match=re.escape(f"does not fit: it must be {words}.")):
        make_job(typed)


def test_an_argument_the_optimizer_does_not_take_gets_one_sentence(
    type_command: Make, tmp_path: Path
) -> None:
    done = type_command("train", "+optimizer.foo=1", "data=iris")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: optimizer.foo is no argument of torch.optim.SGD; it takes params, lr, momentum,"
    )
    assert len(done.stderr.splitlines()) == 1
    assert contents(tmp_path) == {}


class Several(torch.nn.Linear):
    """Returns its outputs, and something beside them."""

    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x), len(x)


class Keeping(torch.nn.Linear):
    """Keeps something beside its tensors."""

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 0}

    def set_extra_state(self, state: Any) -> None:
        self.calls = state["calls"]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["+optimizer.nesterof=true"], r"optimizer.nesterof is no argument .*mean 'nesterov'\?"),
        (["optimizer=nesterov", "optimizer.momentum=0"], r"refuses its arguments.*: Nesterov"),
        (["optimizer=adam", "optimizer.betas=[0.9]"], r"optimizer"),
        (["~optimizer"], r"optimizer"),
        (["scheduler=plateau", "data.val_fraction=0"], r"no rows are kept for validation"),
        (["stop.loss=0.1", "~callbacks.full_loss"], r"stop.loss needs callbacks.full_loss"),
        (["scheduler=cosine", "stop.epochs=null", "stop.loss=0.1", "stop.steps=null"],
         r"Nothing would end this run"),
        (["scheduler=plateau", "scheduler.monitor=val/losss"],
         r"scheduler\.monitor=val/losss is not recorded; did you mean 'val/loss'\?"),
        (["callbacks.checkpoint.monitor=val/r2"], r"monitor=val/r2 is not recorded\. This task"),
        (["callbacks=early_stopping", "data.val_fraction=0"], r"val/loss is not recorded: no rows"),
        (["+trainer.gradient_clip_val=1"], r"trainer.gradient_clip_val has no .* use clip.norm"),
        (["optimizer._target_=torch.optim.LBFGS", "~optimizer.momentum", "~optimizer.dampening",
          "~optimizer.weight_decay"], r"LBFGS evaluates the loss several times a step"),
        (["model._target_=torch.nn.Linear", "+model.out_features=7", "~model.hidden",
          "~model.activation", "~model.dropout", "~model.init"],
         r"turns 2 rows into outputs of shape \(2, 7\), but the data need \(2, 3\)"),
        ([f"model._target_={__name__}.Several", *(f"~model.{k}" for k in LEFT_OUT)],
         r"returns a tuple; return one tensor of outputs \(2, 3\) for 2 rows"),
        ([f"model._target_={__name__}.Keeping", *(f"~model.{k}" for k in LEFT_OUT)],
         r"state_dict holds '_extra_state', a dict and no tensor"),
        (["trainer.accelerator=abacus"], r"The trainer refuses its settings: .*abacus"),
        (["model._target_=descent.data.line.three_points", "~model.hidden", "~model.activation",
          "~model.dropout", "~model.init"], r"model._target_ makes a Arrays, not a torch.nn.Mod"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)  # fmt: skip
def test_what_cannot_be_built_is_refused(
    overrides: list[str], sentence: str, make_job: Make
) -> None:
    from descent.assembly import assemble

    with pytest.raises(UserError, match=sentence):
        assemble(make_job("data=iris", *overrides))


# ---- data


@pytest.fixture
def job_on(make_job: Make, tmp_path: Path) -> Make:
    """Open a job on a table that is given as a CSV text, a frame or bytes; target y."""

    def job(content: str | bytes | pl.DataFrame, *overrides: str, name: str = "my.csv") -> Any:
        path = tmp_path / name
        if isinstance(content, pl.DataFrame):
            content.write_parquet(path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        given = ["data=table", f"data.path={path}", "data.batch_size=full"]
        target = [] if any(o.startswith("data.target=") for o in overrides) else ["data.target=y"]
        return make_job(*given, *target, *overrides)

    return job


def rows_of(x: Callable[[int], Any], y: Callable[[int], Any] = lambda i: i + 0.5) -> str:
    """A CSV of 30 rows, i from 0: columns x, even and y."""
    return "x,even,y\n" + "".join(f"{x(i)},{i % 2},{y(i)}\n" for i in range(30))


# i = 6 is row 7 below the header
BAD_TABLES = {
    "a table with no rows": ("x,y\n", "has no rows below its header"),
    "a file with nothing in it": ("", "is empty; it needs a header and rows"),
    "inf in a feature": (
        rows_of(lambda i: "inf" if i == 6 else i),
        r"column 'x' holds numbers but for row 7, 'inf'",
    ),
    "one stray text among numbers": (
        rows_of(lambda i: "oops" if i == 6 else i),
        r"my.csv: column 'x' holds numbers but for row 7, 'oops': data.missing_words=\[oops\] if",
    ),
    "one class": (
        rows_of(lambda i: i, lambda i: "a"),
        r"at least two classes, but target 'y' has only 'a'; choose another data.target\.$",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_refused_with_what_and_where(case: str, job_on: Make) -> None:
    content, sentence = BAD_TABLES[case]
    with pytest.raises(UserError, match=sentence):
        job_on(content)


def test_a_missing_target_column_is_told_the_nearest(job_on: Make) -> None:
    content = rows_of(lambda i: i).replace("even", "price")
    with pytest.raises(UserError) as caught:
        job_on(content, "data.target=prize")
    assert str(caught.value).endswith(
        "my.csv has no column 'prize'; did you mean 'price'? It has x, price, y."
    )


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("data.features=[x,odd]", "has no column 'odd'.* It has x, even, y"),
        ("data.features=[x,y]", "data.features names the target 'y'"),
        ("data.features=[]", r"data.features=\[\] leaves no column to learn from"),
        ("data.features=[null]", "data.features"),
        ("data.limit=0.01", r"data.limit=0.01 of 24 training rows leaves none"),
    ],
)
def test_a_choice_the_table_cannot_serve_is_refused(
    override: str, sentence: str, job_on: Make
) -> None:
    with pytest.raises(UserError, match=sentence):
        job_on(rows_of(lambda i: i), override)


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather"])
def test_a_file_of_garbage_is_refused_by_name(suffix: str, job_on: Make) -> None:
    with pytest.raises(UserError, match=rf"my.{suffix} cannot be read as {suffix}: "):
        job_on(bytes(range(256)), name=f"my.{suffix}")


def test_the_sentence_about_a_binary_csv_can_be_read(job_on: Make) -> None:
    with pytest.raises(UserError, match=r"my.csv") as caught:
        job_on(bytes(range(128, 256)) * 40)
    assert len(str(caught.value)) < 500


def test_an_unknown_suffix_is_told_the_known(job_on: Make) -> None:
    with pytest.raises(UserError, match=r"my.doc has none of the known suffixes .csv, .tsv, .tab"):
        job_on("x,y\n", name="my.doc")


def test_a_missing_file_gets_one_sentence(refused: Refused, tmp_path: Path) -> None:
    sentence = refused("train", "data=table", "data.path=no.csv", "data.target=y")
    assert sentence == f"There is no file {tmp_path / 'no.csv'}; check data.path."


def test_a_table_of_garbage_gets_one_sentence(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "my.parquet").write_bytes(bytes(range(256)))
    sentence = refused("train", "data=table", "data.path=my.parquet", "data.target=y")
    assert "my.parquet cannot be read as parquet: " in sentence


# ---- directories


def test_a_run_directory_that_is_not_empty_is_left_as_it_is(
    refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    sentence = refused("train", "hydra.run.dir=mine")  # which compares all files, before and after
    assert sentence.startswith("mine exists already; give another hydra.run.dir, or resume=mine")


def test_outputs_that_cannot_be_made_get_one_sentence(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    assert "cannot be made: Not a directory; set paths.outputs" in refused(
        "train", "paths.outputs=taken"
    )


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("thesis.txt", "mine is not a run directory: it has no config.yaml; "
                       "give a directory that src/train.py made."),
        ("train.log", "mine was left by a run that ended before it began, so there is nothing to "
                      "continue; type its command again with hydra.run.dir=mine."),
    ],
)  # fmt: skip
def test_resuming_a_foreign_directory_loses_nothing(
    name: str, sentence: str, refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("years of work")
    assert refused("train", "resume=mine") == sentence


def test_resuming_a_directory_that_does_not_exist_says_so(refused: Refused, tmp_path: Path) -> None:
    assert refused("train", "resume=nowhere").startswith("nowhere does not exist")
    assert not (tmp_path / "nowhere").exists()


# ---- run directories, damaged


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two epochs; tests copy it."""
    from descent.training import train

    place = tmp_path_factory.mktemp("run")
    typed = ["data=iris", "model=linear", "stop.epochs=2", "picture=false"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = plain(compose("train", overrides=typed))
    train(Job(config, prepare(config["data"]), Run(place)))
    return place


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def open_eval(*overrides: str) -> Any:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return open_evaluation(compose("eval", overrides=list(overrides)))


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


DAMAGES = {
    "a config that is no YAML": ("config.yaml", "{{{{", r"config.yaml is damaged and cannot be re"),
    "a config of something else": ("config.yaml", "a: b", r"not a config of Descent"),
    "a config that is a list": ("config.yaml", "[1, 2]", r"not a config of Descent"),
    "a config cut short": ("config.yaml", None, r"run.config.yaml (is|does|lacks|has)"),
    "a data.json cut short": ("data.json", None, r"data.json is damaged and cannot be read"),
    "a data.json of something else": ("data.json", '{"columns": 3}', r"data.json is damaged"),
    "a result cut short": ("result.json", None, r"result.json is damaged and cannot be read"),
    "a result that is a list": ("result.json", "[]", r"result.json is damaged"),
    "a result without a status": ("result.json", "{}", r"result.json is damaged.*no known status"),
    "a result with an odd status": ("result.json", '{"status": ["ok"]}', r"result.json is damaged"),
    "a result with only a status": ("result.json", '{"status": "ok"}', r"result.json is damaged"),
}  # fmt: skip


def damage(run: Path, case: str) -> str:
    """Damage a run directory, and return what is to be said of it."""
    name, content, sentence = DAMAGES[case]
    if content is None:
        cut(run / name, (run / name).stat().st_size // 2)
    else:
        (run / name).write_text(content)
    return sentence


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_run_is_not_resumed(case: str, run: Path, make_job: Make) -> None:
    sentence = damage(run, case)
    with pytest.raises(UserError, match=sentence):
        make_job(f"resume={run}", "stop.epochs=4")


@pytest.mark.parametrize("case", [c for c in DAMAGES if "result" not in c])
def test_a_damaged_run_is_not_evaluated(case: str, run: Path) -> None:
    sentence = damage(run, case)
    with pytest.raises(UserError, match=sentence):
        open_eval(f"run={run}")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("batch_size: 16", "batch_size: 0", "data.batch_size=0 does not fit"),
        ("  test_fraction:", "  tst_fraction:", "test_fraction"),
        ("  scale: standardize", "  scale: 3", "data.scale=3 does not fit"),
    ],
)
def test_an_edited_config_is_checked_again(
    old: str, new: str, sentence: str, run: Path, make_job: Make
) -> None:
    replace(run / "config.yaml", old, new)
    with pytest.raises(UserError, match=sentence):
        make_job(f"resume={run}", "stop.epochs=4")
    with pytest.raises(UserError, match=sentence):
        open_eval(f"run={run}")


def test_a_checkpoint_cut_short_is_not_resumed_and_the_result_is_kept(
    run: Path, make_job: Make
) -> None:
    from descent.training import train

    cut(run / "checkpoints" / "last.ckpt", 2000)
    before = contents(run)
    with pytest.raises(UserError, match=r"last.ckpt is damaged and cannot be read"):
        train(make_job(f"resume={run}", "stop.epochs=4"))
    assert contents(run) == before


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ([], r"is finished \(.*\); to go on, give it a larger stop.epochs"),
        (["stop.epochs=1"], r"is finished"),
        (["stop.epochs=4", "optimizer.lr=0.5"], r"optimizer.lr cannot be changed; only stop"),
        (["stop.epochs=four"], r"stop.epochs=four does not fit: it must be a whole number"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value),
)
def test_a_finished_run_goes_on_only_as_itself(
    overrides: list[str], sentence: str, run: Path, make_job: Make
) -> None:
    with pytest.raises(UserError, match=sentence):
        make_job(f"resume={run}", *overrides)


def test_a_run_without_a_checkpoint_is_not_resumed(run: Path, make_job: Make) -> None:
    (run / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(UserError, match="run kept no checkpoint to continue from"):
        make_job(f"resume={run}", "stop.epochs=4")


def test_a_run_whose_data_have_changed_is_neither_resumed_nor_evaluated(
    run: Path, make_job: Make
) -> None:
    replace(run / "config.yaml", "bundled.iris", "bundled.wine")
    with pytest.raises(UserError, match=r"data have changed since .*was begun.*start a new run"):
        make_job(f"resume={run}", "stop.epochs=4")
    with pytest.raises(UserError, match=r"data have changed since .*run was trained.*data.path="):
        open_eval(f"run={run}")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["run=nowhere"], r"nowhere does not exist, so there is no config.yaml; give a directory"),
        (["run=."], r"\. is not a run directory: it has no config.yaml"),
        (["run={run}", "checkpoint=mean"], r"checkpoint=mean does not fit: .* best or last"),
        (["run={run}", "predict=out.csv"], r"needs rows to predict for; give data.path=\.\.\. as"),
        (["run={run}", "predict=out.txt"], r"predict=out.txt has none of the known suffixes .csv"),
        (["run={run}", "data.path=no.csv"], r"There is no file no.csv; check data.path"),
    ],
    ids=lambda value: None if isinstance(value, str) else value[-1],
)  # fmt: skip
def test_an_evaluation_that_cannot_be_is_refused(
    overrides: list[str], sentence: str, run: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        open_eval(*[o.format(run=run) for o in overrides])


def test_evaluation_mistakes_get_one_sentence(refused: Refused, run: Path) -> None:
    assert refused("eval") == "run is not set; give it on the command line: run=..."
    assert refused("eval", "runn=run") == "There is no option 'runn'; did you mean 'run'?"


@pytest.mark.parametrize("damage", ["cut", "text", "missing weights"])
def test_damaged_weights_are_told_of_in_plain_words(damage: str, run: Path) -> None:
    best = run / "checkpoints" / "best.ckpt"
    if damage == "cut":
        cut(best, 1000)
    elif damage == "text":
        best.write_text("not weights")
    else:
        import torch

        torch.save({"state_dict": {}}, best)
    with pytest.raises(UserError, match=r"best.ckpt (is damaged|of .*run does not fit)") as caught:
        evaluate(open_eval(f"run={run}", "accelerator=cpu"))
    assert len(str(caught.value).splitlines()) == 1
    assert "weights_only" not in str(caught.value)  # torch's advice would be to load it unsafely


@pytest.mark.parametrize("script", ["train", "eval"])
def test_an_untrusted_target_in_a_run_directory_is_not_called(
    script: str, run: Path, refused: Refused, tmp_path: Path
) -> None:
    linear = "_target_: descent.models.linear.Linear"
    replace(run / "config.yaml", linear, "_target_: os.mkdir\n  path: owned")
    typed = ["resume=run", "stop.epochs=4"] if script == "train" else ["run=run"]
    assert refused(script, *typed) == (
        "run asks to run 'os.mkdir' (model._target_), which is not among the trusted packages; "
        "if you trust it, add trust=[os]."
    )
    assert not (tmp_path / "owned").exists()


# ---- without torch

HEAVY = ("torch", "lightning", "matplotlib")


def imported(stderr: str) -> set[str]:
    """The modules in Python's own report of its imports."""
    return {line.rsplit("|", 1)[1].strip() for line in stderr.splitlines() if "|" in line}


@pytest.mark.parametrize(
    ("script", "typed", "code"),
    [
        ("train", ["--help"], 0),
        ("train", ["optimizer.lr=0"], 2),
        ("train", ["data=table", "data.path=my.csv", "data.target=prize"], 2),
        ("train", ["resume=nowhere"], 2),
        ("eval", ["--help"], 0),
        ("eval", ["run=nowhere"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_answer_that_needs_no_torch_does_not_wait_for_it(
    script: str, typed: list[str], code: int,
    start_command: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "my.csv").write_text(rows_of(lambda i: i))
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    done = start_command(script, *typed)
    assert done.returncode == code
    modules = imported(done.stderr)
    assert "hydra" in modules  # the report is there
    assert not modules & set(HEAVY)


def test_the_help_page_shows_choices_options_and_an_example(start_command: Make) -> None:
    page = start_command("train", "--help").stdout
    assert "python src/train.py optimizer=momentum" in page
    assert re.search(r"^optimizer: adagrad, adam, adamw, momentum", page, re.MULTILINE)
    assert "batch_size: 64" in page


def test_the_config_is_shown_without_torch(
    start_command: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    done = start_command("train", "--cfg", "job", "optimizer.lr=0.5")
    shown = OmegaConf.create(done.stdout)
    assert shown.optimizer.lr == 0.5
    assert "hydra" not in shown
    assert not imported(done.stderr) & set(HEAVY)
