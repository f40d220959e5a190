"""What people need to test their own application: simulated time, and what goes with it.

It imports neither pytest nor Hypothesis; the modules beside it that need one of them are imported by their own names.
"""

from session_lifecycle.testing.clock import SimulatedClock

__all__ = ["SimulatedClock"]
