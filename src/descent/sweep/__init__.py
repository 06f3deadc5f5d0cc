"""Many trainings as one job: which of them run together, and where."""
