"""The testing kit for applications: simulated time, scripted days, and a check of events.

This package imports neither pytest nor Hypothesis. The modules that need one of them are imported by their own names.
"""

from session_lifecycle.testing.clock import SimulatedClock
from session_lifecycle.testing.legal import assert_legal
from session_lifecycle.testing.local import LocalTime
from session_lifecycle.testing.result import Refused, Result, RollAttempt
from session_lifecycle.testing.script import Script

__all__ = ["LocalTime", "Refused", "Result", "RollAttempt", "Script", "SimulatedClock", "assert_legal"]
