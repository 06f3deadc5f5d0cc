"""What may be typed: every option, its bounds, and the one way from a node to an object."""
