"""Show a sweep's chosen runs in TensorBoard: `python src/dashboard.py --help`."""

from descent.signals import listen

if __name__ == "__main__":  # before what takes seconds to import
    listen()

import hydra
from omegaconf import DictConfig

from descent.cli import enter, one_sentence


@hydra.main(version_base="1.3", config_path="../conf", config_name="dashboard")
def main(cfg: DictConfig) -> None:
    """Find and choose the runs first; TensorBoard is begun when there is something to show."""
    with one_sentence():
        from descent.dashboard.serving import run

        run(cfg)


if __name__ == "__main__":
    enter(main)
