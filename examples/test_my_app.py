"""A trading application of thirty lines, and its tests: on days with faults, some written down and some drawn.

Run it from anywhere, with the package and its extra `testing` installed:

    pytest examples/test_my_app.py

Expect five tests to pass within seconds. Break the desk (have it book without adjusting first, or adjust by what the
event says) and run it again: a failure shows the diary of the day, in New York time.

Shortcomings: the broker fills everything within a second, and the books are a dict. A real application keeps both
outside, and gives its tests stand-ins for them.
"""

from datetime import date, timedelta

import anyio
from hypothesis import given, settings

from session_lifecycle import AlarmFired, HandlerFailed, SessionBoundaryManager, SessionState, StateChanged
from session_lifecycle.testing import Result, Script
from session_lifecycle.testing.strategies import days, fault_scripts

pytest_plugins = ["session_lifecycle.testing.pytest_plugin"]  # a failing test shows the diary of its day

# ---- the application ----

SIZE = 100
LATE = timedelta(minutes=15)  # before the close


class Desk:
    """Holds a position while the market is open and quotes come, is flat before the close, and books each session."""

    def __init__(self, manager_class: type[SessionBoundaryManager] = SessionBoundaryManager) -> None:
        """Wire it all up; only a test passes another class."""
        self.manager = manager_class("XNYS", self.roll_session)
        self.clock = self.manager.clock
        self.position = 0
        self.books: dict[date, int] = {}
        self.manager.on(StateChanged, missed=True)(self.adjust)
        self.manager.at("close", -LATE)(self.adjust)

    async def adjust(self, event: StateChanged | AlarmFired | None = None) -> None:  # noqa: ARG002 -- see below
        """Trade to the position that is right at present, whatever the event was."""
        in_time = self.clock.now() < self.manager.session.close - LATE
        wanted = SIZE if self.manager.state is SessionState.ACTIVE and in_time else 0
        await self.clock.sleep(timedelta(seconds=1))  # the broker's answer
        self.position = wanted

    async def roll_session(self, next_date: date) -> None:  # noqa: ARG002 -- it books the other one
        """Book what the session ends with. To book it again makes no difference."""
        await self.adjust()
        self.books[self.manager.session.date] = self.position


# ---- its tests ----

HALF_DAY = Script("XNYS", date(2024, 11, 29)).data_every(timedelta(seconds=1))


def play(script: Script) -> Result[Desk]:
    """Play a script; whatever happens in it, no handler fails, and no event is illegal."""
    result = anyio.run(script.run, Desk)
    result.assert_legal()
    assert not result.of(HandlerFailed)
    return result


def is_flat(desk: Desk) -> None:
    assert desk.position == 0


def is_long(desk: Desk) -> None:
    assert desk.position == SIZE


def test_it_is_flat_before_the_close_of_a_half_day() -> None:
    """The market closes at 13:00, so the position is sold at 12:45."""
    play(HALF_DAY.call("09:29", is_flat).call("09:31", is_long).call("12:44", is_long).call("12:46", is_flat))


def test_a_mute_feed_costs_the_position_until_it_is_back() -> None:
    """Five minutes without a quote are a TIMEOUT."""
    result = play(HALF_DAY.silence("10:15", "10:25").call("10:21", is_flat).call("10:26", is_long))
    assert result.state_at("10:21") is SessionState.TIMEOUT


def test_a_roll_that_fails_twice_books_the_day_once() -> None:
    """The second failure comes after the books were written."""
    result = play(HALF_DAY.roll_fails().roll_fails(after=True))
    assert [attempt.reached for attempt in result.rolls] == [False, True, True]
    assert result.app.books == {date(2024, 11, 29): 0}


@settings(max_examples=20, deadline=None)
@given(fault_scripts("XNYS", day=days("XNYS")))
def test_nothing_is_carried_overnight_on_any_day_with_any_faults(script: Script) -> None:
    """Silences, failing rolls, steps of the clock, halts, early closes, and what else people do."""
    result = play(script)
    assert set(result.app.books.values()) <= {0}
    assert set(result.app.books) == {attempt.session for attempt in result.rolls if attempt.reached}


@settings(max_examples=20, deadline=None)
@given(fault_scripts(sessions=2))
def test_it_is_long_only_while_the_market_is_open_by_any_hours(script: Script) -> None:
    """Two days of a schedule that is drawn: with breaks, overnight, round the clock, or of no regularity at all."""
    result = play(script)
    assert result.app.position == 0 or result.manager.state is SessionState.ACTIVE
