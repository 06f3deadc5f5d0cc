"""The one way to train: R runs under one Lightning fit, by one of three kernels."""
