"""Show a sweep's chosen runs in TensorBoard: `python src/dashboard.py --help`."""

from descent.signals import listen

if __name__ == "__main__":  # before what takes seconds to import
    listen()

from omegaconf import DictConfig

from descent.cli import enter, one_sentence
from descent.config.hydra_release import entry_point


@entry_point("dashboard")
def main(cfg: DictConfig) -> None:
    """Find and choose the runs first; TensorBoard is begun when there is something to show."""
    with one_sentence():
        from descent.dashboard.serving import run

        run(cfg)


if __name__ == "__main__":
    enter(main)
