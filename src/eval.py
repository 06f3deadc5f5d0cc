"""Repeat a run's test metrics, or predict for new rows: `python src/eval.py --help`."""

from descent.signals import listen

if __name__ == "__main__":  # before what takes seconds to import
    listen()

from omegaconf import DictConfig

from descent.cli import enter, one_sentence
from descent.config.hydra_release import entry_point


@entry_point("eval")
def main(cfg: DictConfig) -> None:
    """Read the run directory first; torch is imported when it is known to be good."""
    with one_sentence():
        from descent.evaluation import evaluate, open_evaluation

        evaluate(open_evaluation(cfg))


if __name__ == "__main__":
    enter(main)
