"""Draw finished runs as pictures and one page: `python src/report.py --help`."""

import re
import sys

import hydra
from omegaconf import DictConfig

from descent.cli import one_sentence


@hydra.main(version_base="1.3", config_path="../conf", config_name="report")
def main(cfg: DictConfig) -> None:
    """Read and check the runs first; the drawing libraries are imported when they are good."""
    with one_sentence():
        from descent.reporting import open_report, report

        report(open_report(cfg))


if __name__ == "__main__":
    # Hydra would take sweep=... for a choice in conf/sweep/
    sys.argv[1:] = [re.sub("^sweep=", "multirun=", word) for word in sys.argv[1:]]
    with one_sentence():
        main()
