"""What the stateful tests of the lifecycle draw."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import product
from typing import Literal

import hypothesis.strategies as st

from session_lifecycle import (
    LifecycleConfig,
    MissedSessions,
    RetryPolicy,
    Session,
)
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at
from tests.helpers.stateful import HOUR, MINUTE, SECOND, ZERO


@dataclass(frozen=True)
class World:
    """What a run begins with."""

    sessions: tuple[Session, ...]
    config: LifecycleConfig
    start: datetime
    session: date | None
    attempts: "tuple[Roll, ...]" = ()


@dataclass(frozen=True)
class Roll:
    """What one attempt of the application's roll does, and after how long.

    `hangs` waits to be cancelled, `yields` returns when it is, `shields` does not notice; `foreign` awaits a task that
    somebody else has cancelled.
    """

    kind: Literal["returns", "raises", "hangs", "yields", "shields", "foreign"]
    after: timedelta = ZERO


@dataclass(frozen=True)
class Near:
    """An instant that matters to data, to the roll or to anything, the `number`th, or `off` microseconds beside it."""

    to: Literal["anything", "silence", "roll"]
    number: int
    off: int


@dataclass(frozen=True)
class Advance:
    """Time passes."""

    by: timedelta | Near


@dataclass(frozen=True)
class Step:
    """The wall clock steps; then, before anybody has had a look, a call may be made."""

    by: timedelta | Near
    call: "Data | Call | None" = None


@dataclass(frozen=True)
class Data:
    """Data arrives: with a timestamp so old, or with none."""

    age: timedelta | None


@dataclass(frozen=True)
class Call:
    """Somebody calls the manager."""

    name: Literal["fail", "recover", "end_session", "roll", "naive"]


@dataclass(frozen=True)
class Plan:
    """What the next attempts at the roll will do, over and over."""

    attempts: tuple[Roll, ...]


@dataclass(frozen=True)
class Restart:
    """The manager leaves, in one of four ways, and a new one begins with its session."""

    how: Literal["stop", "return", "raise", "cancel"]


Op = Advance | Step | Data | Call | Plan | Restart
# Rolls never last exactly `roll_timeout`: which of two wakers at one instant comes first is nobody's promise.
TIMEOUTS = (None, 40 * SECOND, 20 * MINUTE)
LASTING = (ZERO, SECOND, 40 * SECOND - MICROSECOND, 40 * SECOND + MICROSECOND, 10 * MINUTE, 10 * MINUTE, 3 * HOUR)
SILENCES = (None, 30 * SECOND, 4 * MINUTE)
# One draw for each session, rather than five: drawing is what the time goes into.
SHAPES = st.sampled_from(
    list(
        product(
            [2 * HOUR, 30 * MINUTE, 5 * MINUTE, MINUTE, ZERO, 3 * DAY],  # after the session before
            [6 * MINUTE, 3 * MINUTE, MINUTE],  # a tenth of its length
            [(), ((4, 5),), ((1, 3), (6, 9))],  # its breaks, in tenths
            [None, ZERO, 10 * MINUTE, 4 * HOUR],  # the facts of the venue, where it gives any
            [None, ZERO, 4 * MINUTE, 4 * HOUR],
        )
    )
)


@st.composite
def sessions(draw: st.DrawFn) -> tuple[Session, ...]:
    """Draw five to eight sessions: whole and half days, breaks, no gap at all, long gaps, facts of the venue."""
    drawn: list[Session] = []
    opens = at(MONDAY, (9, 0))
    for number in range(draw(st.integers(5, 8))):
        gap, tenth, breaks, early, late = draw(SHAPES)
        opens += gap
        closes = opens + 10 * tenth
        drawn.append(
            Session(
                MONDAY + number * DAY,
                opens,
                closes,
                tuple((opens + begin * tenth, opens + end * tenth) for begin, end in breaks),
                None if early is None else opens - early,
                None if late is None else closes + late,
            )
        )
        opens = closes
    return tuple(drawn)


configs = st.builds(
    LifecycleConfig,
    auto_roll=st.sampled_from([True, True, True, False]),
    data_timeout=st.sampled_from((*SILENCES, *SILENCES[1:])),
    error_after_timeout=st.sampled_from([None, MINUTE, 10 * MINUTE]),
    require_first_tick=st.booleans(),
    pre_market=st.sampled_from([ZERO, 5 * MINUTE, HOUR]),
    post_market_roll_delay=st.sampled_from([ZERO, 3 * MINUTE, 30 * MINUTE]),
    roll_timeout=st.sampled_from(TIMEOUTS),
    roll_retry=st.sampled_from(
        [
            RetryPolicy(attempts=1),
            RetryPolicy(attempts=2),
            RetryPolicy(attempts=4, initial=10 * SECOND, factor=3, maximum=MINUTE),
        ]
    ),
    missed_sessions=st.sampled_from(MissedSessions),
    max_catch_up_sessions=st.sampled_from([1, 2, 10]),
)


def attempts(kinds: tuple[str, ...]) -> st.SearchStrategy[tuple[Roll, ...]]:
    """Draw what the next attempts at the roll will do."""
    lasting = st.builds(
        Roll, st.sampled_from(("returns", "returns", "returns", "raises", "shields")), st.sampled_from(LASTING)
    )
    waiting = st.builds(Roll, st.sampled_from(kinds))
    return st.lists(st.one_of(lasting, lasting, lasting, waiting), min_size=1, max_size=3).map(tuple)


portable = ("hangs", "yields")
asyncios = (*portable, "foreign")  # trio has no tasks that somebody else could cancel


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw sessions, a configuration, and where in them a run begins."""
    drawn, config = draw(sessions()), draw(configs)
    first = draw(st.integers(0, 2))
    edge = draw(st.sampled_from([drawn[first].open, drawn[first].close, *sum(drawn[first].breaks, ())]))
    start = edge + draw(st.sampled_from([ZERO, MICROSECOND, -MICROSECOND, -HOUR, -MINUTE, MINUTE, HOUR]))
    start = min(start, drawn[-1].close - MICROSECOND)
    known = st.sampled_from([session.date for session in drawn[:4]])
    return World(drawn, config, start, draw(st.none() | known), draw(attempts(portable)))


nears = st.builds(
    Near, st.sampled_from(["anything", "silence", "roll"]), st.integers(0, 5), st.sampled_from([0, 0, -1, 1])
)
deltas = st.sampled_from([MICROSECOND, SECOND, 20 * SECOND, 5 * MINUTE, HOUR, 5 * HOUR]) | st.timedeltas(ZERO, 2 * HOUR)
steps = st.sampled_from([MICROSECOND, SECOND - MICROSECOND, SECOND, MINUTE, HOUR, 6 * HOUR, 2 * DAY]).flatmap(
    lambda delta: st.sampled_from([delta, -delta])
)
ages = st.sampled_from([None, None, ZERO, -HOUR, SECOND, 20 * SECOND, DAY]) | st.builds(
    lambda timeout, off: timeout + off * MICROSECOND, st.sampled_from(SILENCES[1:]), st.sampled_from([-1, 0, 1])
)
advances = st.builds(Advance, st.one_of(nears, nears, deltas))
data = st.builds(Data, ages)
calls = st.builds(Call, st.sampled_from(["fail", "recover", "recover", "end_session", "roll", "roll", "naive"]))
plans = st.builds(Plan, attempts(portable))
clock_steps = st.builds(Step, st.one_of(steps, nears), st.none() | data | calls)
restarts = st.builds(Restart, st.sampled_from(["stop", "return", "raise", "cancel"]))
