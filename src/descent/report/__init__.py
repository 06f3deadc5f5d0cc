"""From a run directory to something to look at."""
