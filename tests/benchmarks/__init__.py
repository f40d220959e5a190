"""Figures, not verdicts: run `python -m tests.benchmarks`."""
