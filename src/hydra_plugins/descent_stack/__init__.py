"""Hydra's face of stacked multiruns; Hydra finds it by its place below `hydra_plugins`."""
