"""Figures, not verdicts: run `python -m tests.labs.benchmarks`."""
