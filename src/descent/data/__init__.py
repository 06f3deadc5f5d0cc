"""From a source to batches: each source is one function that returns `Arrays`."""
