"""Write a run's model for programs without Descent: `python src/export.py --help`."""

from descent.signals import listen

if __name__ == "__main__":  # before what takes seconds to import
    listen()

from omegaconf import DictConfig

from descent.cli import enter, one_sentence
from descent.config.hydra_release import entry_point


@entry_point("export")
def main(cfg: DictConfig) -> None:
    """Read the run directory first; torch is imported when it is known to be good."""
    with one_sentence():
        from descent.api.exporting import export, open_export

        export(open_export(cfg))


if __name__ == "__main__":
    enter(main)
