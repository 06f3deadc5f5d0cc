"""The run directory and the multirun: written and read here, one reader for each format."""
