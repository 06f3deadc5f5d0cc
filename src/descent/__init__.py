"""Descent: a laboratory for mini-batch gradient descent."""

__version__ = "0.1.0"
