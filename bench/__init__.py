"""Benchmarks; most write JSON and a plot to ``build/bench``."""
