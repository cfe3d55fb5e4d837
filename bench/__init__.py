"""Measurements of post-processing and serving; each writes JSON and a plot to ``build/bench``."""
