"""Train one model: `python src/train.py --help`."""

from descent.signals import listen

if __name__ == "__main__":  # before what takes seconds to import
    listen()

from omegaconf import DictConfig

from descent.cli import enter, one_sentence
from descent.config.hydra_release import entry_point


@entry_point("train")
def main(cfg: DictConfig) -> float | None:
    """Run one job; the heavy imports wait until its options and its data are known to be good."""
    with one_sentence(cfg):
        from descent.job import open_job

        job = open_job(cfg)

        from descent.engine.imports import import_lightning

        import_lightning()
        from descent.training import train

        return train(job)


if __name__ == "__main__":
    enter(main)
