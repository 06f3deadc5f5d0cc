"""Where a run's figures are written: CSV tables and TensorBoard's event file."""
