"""The part of a lifecycle that the clock alone moves: one frozen value, which a cohort adopts in one assignment."""

from datetime import date, datetime, timedelta

import msgspec
from msgspec import Struct

from session_lifecycle._core.phases import NO_PHASES, PhaseProgress
from session_lifecycle._core.timeline import Position
from session_lifecycle._model.clock import Reading
from session_lifecycle._model.states import SessionState


class Expectation(msgspec.Struct, frozen=True):
    """Since when data is expected after a transition: fields of `ClockState`, which describes them."""

    expected_since: timedelta | None = None
    opened: timedelta | None = None
    awaited_since: timedelta | None = None
    carried: SessionState | None = None


class ClockState(Struct, frozen=True, gc=False):
    """The place of a lifecycle in time.

    `state` is the machine's. `last_reading` is the last reading of the clocks, `position` where schedule and clock
    alone put the venue then. `next_transition` is the wall instant of the next boundary or break of the machine's
    session, None where none is due by the clock. `breaks_passed` counts the starts and ends of breaks that were
    delivered in this session.

    Data has been expected since `expected_since`, by the monotonic clock, and was expected for the first time since the
    market opened at `opened`; None: it is not, or was not yet. `awaited_since` is the open, or the end of the last
    break or halt: one may trade once data has come since then. `carried` is ACTIVE or TIMEOUT after a close at which
    the next session opens: the market has not closed, so all that is known of its data carries over the roll to that
    open; else None. `closed_before` is the session before which the venue is closed, while data that comes nevertheless
    is to be reported; else None. `inspect_all` says that every record of data must be inspected: because the session is
    TIMEOUT, or the venue closed. `phases` is how far the venue's phases have been delivered.
    """

    state: SessionState
    last_reading: Reading
    position: Position
    next_transition: datetime | None = None
    breaks_passed: int = 0
    on_break: bool = False
    expected_since: timedelta | None = None
    opened: timedelta | None = None
    awaited_since: timedelta | None = None
    carried: SessionState | None = None
    closed_before: date | None = None
    inspect_all: bool = False
    phases: PhaseProgress = NO_PHASES
