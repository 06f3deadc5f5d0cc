"""Draw finished runs as pictures and one page: `python src/report.py --help`."""

from descent.signals import listen

if __name__ == "__main__":  # before what takes seconds to import
    listen()

from omegaconf import DictConfig

from descent.cli import enter, one_sentence
from descent.config.hydra_release import entry_point


@entry_point("report")
def main(cfg: DictConfig) -> None:
    """Read and check the runs first; the drawing libraries are imported when they are good."""
    with one_sentence():
        from descent.report.run_report import open_report, report

        report(open_report(cfg))


if __name__ == "__main__":
    enter(main)
