"""The statistics of a sweep, numbers and the sentences made of them; no pictures."""
