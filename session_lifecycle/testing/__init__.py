"""What people need to test their own application: simulated time, and what goes with it.

It imports neither pytest nor Hypothesis; the modules beside it that need one of them are imported by their own names.
"""

from session_lifecycle.testing.clock import SimulatedClock
from session_lifecycle.testing.legal import assert_legal
from session_lifecycle.testing.local import LocalTime
from session_lifecycle.testing.result import Refused, Result, RollAttempt
from session_lifecycle.testing.script import Script

__all__ = ["LocalTime", "Refused", "Result", "RollAttempt", "Script", "SimulatedClock", "assert_legal"]
