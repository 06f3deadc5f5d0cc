"""`import descent`: the engine of the commands, for Python that it leaves as it was."""
