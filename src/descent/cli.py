"""The front door: from the command line to a checked config, with one sentence for each mistake.

Hydra reports a mistake in several lines and its own words, after importing what it needs. Here
its exceptions are caught and said as one sentence, and a job's config is checked before its
directory is made and before torch is imported.
"""

from __future__ import annotations

import atexit
import copy
import errno
import gc
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from descent.config.blame import blamed, keep_traceback
from descent.config.check import check, flatten
from descent.config.hydra_release import compose_options, resolve
from descent.config.keys import check_keys
from descent.config.machine import check_counts
from descent.config.spelling import CONF, command, install
from descent.config.typed import understood
from descent.config.vocabulary import replacement
from descent.errors import (
    ForeignError,
    UserError,
    WriteError,
    did_you_mean,
    first_line,
    out_of_memory,
)
from descent.files.atomic import FATAL, foreign, write_error
from descent.files.bounded import REFERENCE
from descent.files.claims import all_claimed, claim, hold, let_all_go, undo
from descent.metrics import AUTO, default_metric, direction, measured
from descent.records import document
from descent.records.run import LOG, NOTHING, SWEEP, Run, discard
from descent.signals import Interrupted, answering, unwind

UNNAMEABLE = (errno.ENAMETOOLONG, errno.ELOOP)  # what no file can be called

EXIT_FAILED = 1  # a multirun in which a job failed

# Whether somebody's Python called, which gets mistakes raised and its process is not ended.
in_python: ContextVar[bool] = ContextVar("in_python", default=False)

# Python looks through all objects for cycles before it ends: over a second once torch is imported
atexit.register(gc.freeze)

resolve("descent.run_dir", lambda resume, fresh: resume or fresh)


def scaled_lr(base: float, batch: int | str, reference: int, scaling: str) -> float:
    """Return an lr for a batch size, from the one that suits the reference batch.

    Raises:
        UserError: the batch is `full`, which is no number to scale by.
    """
    if scaling == "none":
        return base
    if not isinstance(batch, int):
        raise UserError(
            f"lr_scaling={scaling} needs a number for data.batch_size, not {batch}; give one, or "
            "lr_scaling=none."
        )
    return base * (batch / reference) ** (0.5 if scaling == "sqrt" else 1.0)


resolve("descent.command", command)
resolve("descent.conf", lambda: str(from_here(CONF)))
resolve("descent.scaled_lr", scaled_lr)
resolve("descent.default_metric", default_metric)
resolve("descent.direction", direction)
resolve("descent.measured", measured)


def enter(main: Callable[[], Any]) -> None:
    """Read the command line and run an entry point's `main`; mistakes end in one sentence."""
    words, script = sys.argv[1:], Path(sys.argv[0]).stem
    with document.one_document(words), one_sentence():
        document.check_flags(script, words)
        sys.argv[1:] = understood(words, script)
        main()


@contextmanager
def one_sentence(config: DictConfig | None = None) -> Iterator[None]:
    """Turn a user's mistake into one sentence on stderr and exit code 2.

    So too what the disk or the memory does not allow, and a failure of code that the config names
    and that is not ours; a signal ends with the code that shells expect. Anything else passes
    through with its traceback. Called from Python, all of these raise UserError and Interrupted.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would have printed
    try:
        with answering(unwind if in_python.get() else None, words=_last_words):
            yield
    except UserError as error:
        if isinstance(error, ForeignError) and error.__cause__ is not None:
            keep_traceback(error.__cause__, _debugging())
        _fail(str(error))
    except Interrupted as error:
        _tidy()
        if in_python.get():
            raise
        document.note("error", f"{error}.")
        print(f"{error}.", file=sys.stderr)
        raise SystemExit(error.code) from None
    except (HydraException, OmegaConfBaseException) as error:
        sentence = sentence_for(error)
        if sentence is None:
            raise
        _fail(sentence)
    except Exception as error:
        sentence = _no_bug(error, config)
        if sentence is None:
            raise
        _fail(sentence)


def _no_bug(error: Exception, config: DictConfig | None) -> str | None:
    """Return what went wrong where the fault is not ours, in one sentence."""
    if isinstance(error, OSError) and error.errno in FATAL:
        return str(write_error(Path(error.filename or "A file"), error))
    if isinstance(error, OSError) and error.errno in UNNAMEABLE:
        return f"{error.filename} cannot be found: {error.strerror}; give another name."
    if out_of_memory(error):
        return f"There is not enough memory: {first_line(error)}; try a smaller model or batch."
    nodes: Any = {} if config is None else OmegaConf.to_container(config)
    sentence = blamed(error, nodes)
    if sentence is None:
        return None
    keep_traceback(error, _debugging())
    return f"{sentence}{_where_to_look()}."


def _debugging() -> bool:
    return HydraConfig.initialized() and bool(HydraConfig.get().runtime.choices.get("debug"))


def _where_to_look() -> str:
    """Return where the traceback of a failure is."""
    if not HydraConfig.initialized() or OmegaConf.is_missing(
        HydraConfig.get().runtime, "output_dir"
    ):
        return ""
    log = Path(HydraConfig.get().runtime.output_dir) / LOG
    return f"; the traceback is in {from_here(log)}" if log.is_file() else ""


def _last_words(signal_name: str) -> str:
    _tidy()
    return f"stopped by {signal_name}."


def _tidy() -> None:
    """Remove the directories that were made for what has not begun, and let go of the others."""
    for directory in reversed(all_claimed()):
        discard(directory)
    let_all_go()


def _fail(sentence: str) -> None:
    _tidy()
    # the start and the end of a name tell which it is
    short = re.sub(r"[^\s]{300,}", lambda word: f"{word[0][:100]}…{word[0][-50:]}", sentence)
    if in_python.get():
        raise UserError(short) from None
    document.note("error", short)
    print(f"error: {short}", file=sys.stderr)
    raise SystemExit(2) from None


def sentence_for(error: Exception, typed: Sequence[str] | None = None) -> str | None:
    """Return Hydra's complaint in one sentence; None for what is no user's mistake.

    Args:
        error: what Hydra or OmegaConf raised.
        typed: the overrides that led to it; None for those of the command line.
    """
    text = str(error)
    if "hydra/sweeper/optuna" in text or "hydra/sweeper=optuna" in text:
        return f"sweep=optuna needs an extra: {install('optuna')}"
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        known = sorted(error.options)
        return (
            f"{group}={choice} does not exist{did_you_mean(choice, known) or '.'} "
            f"conf/{group}/ has {', '.join(known)}."
        )
    if isinstance(error, MissingConfigException):
        return text.splitlines()[0]
    several = re.search(r"Ambiguous value for argument '([^']*)'", text)
    if several:
        key, _, values = several[1].partition("=")
        return (
            f"{several[1]} gives several values; add -m to try each of them, or write "
            f"{key}=[{values}] if a list is meant, '{key}=\"{values}\"' if it is one text."
        )
    without = re.search(r"Sweep parameters '([^']*)' requires --multirun", text)
    if without:
        return f"{without[1]} gives several values; add -m to try them."
    key = re.search(r"Could not (?:override|delete|append)[^']*'([^']+)'", text)
    if key:
        return _unknown(key.group(1).split("@")[0], text, typed)
    if (
        "mismatched input" in text
        or "LexerNoViableAlt" in type(error).__name__
        or "See https://hydra.cc" in text
    ):
        word = re.search(r"override '([^']*)'", text)
        hint = "; options are typed as key=value" if word and "=" not in word[1] else ""
        return f"An override cannot be read: {text.splitlines()[0].rstrip('.')}{hint}."
    if isinstance(error, HydraException) and type(error).__name__ == "ConfigCompositionException":
        return " ".join(text.split()[:60])
    ours = text.partition("UserError raised while resolving interpolation: ")[2]
    if isinstance(error, OmegaConfBaseException) and ours:
        return ours.splitlines()[0]
    if isinstance(error, OmegaConfBaseException):
        return f"The config does not fit together: {text.splitlines()[0].rstrip('.')}."
    return None


def _unknown(key: str, text: str, typed: Sequence[str] | None) -> str:
    if "already at" in text:
        return f"{key} exists already; leave out the '+'."
    value = re.search(r"The value of '[^']*' is (.*) and not", text)
    if value:
        return f"{key} is {value[1]}; write ~{key} to take it out, whatever it is."
    instead = replacement(key)
    if instead is None:
        known = known_keys(sys.argv[1:] if typed is None else typed)
        hint = did_you_mean(key, known) if key not in known else ""
        instead = hint.removeprefix("; ") or f"To add a new option on purpose, write +{key}=..."
    separator = "; " if instead.startswith("did") else ". " if instead.startswith("To") else ": "
    return f"There is no option '{key}'{separator}{instead}"


def known_keys(typed: Sequence[str]) -> list[str]:
    """Return every option and group of the command's config, with the choices that were typed."""
    chosen = [a for a in typed if re.fullmatch(r"\w+=\w+", a) and (CONF / a.split("=")[0]).is_dir()]
    for overrides in (chosen, []):
        try:
            cfg = compose_options(CONF, Path(sys.argv[0]).stem, overrides)
            break
        except (HydraException, OmegaConfBaseException):
            continue
    leaves = [key for key, _ in flatten(OmegaConf.to_container(cfg)) if "_target_" not in key]
    trains = Path(sys.argv[0]).stem == "train"
    groups = sorted(p.name for p in CONF.iterdir() if p.is_dir()) if trains else []
    return [*groups, *leaves]


class FrontDoor(Callback):
    """Hydra's hook before a job's directory exists: check the config, then claim the directory."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Check a single run; a mistake leaves nothing behind."""
        with one_sentence():
            _check_hydra(config)
            if config.get("resume") is not None:
                Run(config.resume).config()  # before Hydra makes or touches the directory
                hold(Path(config.resume))
                return
            job = _job_config(config)
            check_keys(job)
            check(job)
            _check_directory(config.hydra.run.dir)
            check_counts(config)
            # Lightning starts further ranks of one run by running the command again
            if "LOCAL_RANK" not in os.environ:
                _claim(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Check what the sweeper is told; claim the directory, in which Hydra writes at once."""
        with one_sentence():
            _check_hydra(config)
            check_direction(config)
            sweep = Path(str(config.hydra.sweep.dir))
            claim(sweep)
            if (sweep / SWEEP).is_symlink() or (sweep / SWEEP).is_dir():
                raise UserError(f"{sweep / SWEEP} is no file of Hydra's; move it away.")


def _check_hydra(config: DictConfig) -> None:
    """Refuse options about where and how Hydra runs a job that would not do what they say.

    Raises:
        UserError: naming the option.
    """
    if config.hydra.job.chdir:
        raise UserError(
            "hydra.job.chdir=true is not offered: paths are read from where the command is typed; "
            "hydra.run.dir says where a run goes."
        )
    if config.hydra.mode != RunMode.MULTIRUN and config.get("sweep_dir") is not None:
        raise UserError("sweep_dir=... continues a multirun; add -m, and the options it swept.")


def check_direction(config: DictConfig) -> None:
    """Refuse a search in the wrong direction.

    Raises:
        UserError: `hydra.sweeper.direction` contradicts `optimized_metric`.
    """
    asked = config.hydra.sweeper.get("direction")
    if not isinstance(asked, str):  # no search, or one of several metrics
        return
    own = direction(str(config.optimized_metric), str(config.get("optimized_mode", AUTO)))
    if asked != own:
        raise UserError(
            f"hydra.sweeper.direction={asked} contradicts optimized_metric="
            f"{config.optimized_metric}; leave it out: the search will {own}."
        )


def from_here(path: Path) -> Path:
    """Return a path as seen from here, where it lies below: shorter to read and to type again."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _job_config(config: DictConfig) -> DictConfig:
    """Return the config without Hydra's own node, as the job will see it."""
    job = copy.deepcopy(config)
    with read_write(job), open_dict(job):
        del job["hydra"]
    return job


def _check_directory(name: str) -> None:
    """Refuse a directory whose name Hydra would read as a reference, once more, when it runs."""
    if REFERENCE in name:
        raise UserError(
            f"hydra.run.dir={name} holds '{REFERENCE}', which Hydra takes for a reference to an "
            "option; choose another name."
        )


def _claim(directory: Path) -> None:
    try:
        claim(directory)
        others = foreign(directory, NOTHING)
    except WriteError as error:
        raise UserError(f"{str(error).rstrip('.')}; set paths.outputs.") from None
    if others:
        undo(directory)
        raise UserError(
            f"{directory} exists already; give another hydra.run.dir, or resume={directory} to "
            "continue the run in it."
        )
