"""Runs of one shape, trained in lockstep as one program."""
