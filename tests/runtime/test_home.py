"""One loop, one thread: what any thread may call, what is refused there, and what may not be copied."""

import asyncio
import copy
import inspect
import pickle
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import anyio
import pytest

from session_lifecycle import (
    AdaptiveTimeout,
    Closure,
    FeedResumed,
    FixedSchedule,
    LifecycleConfig,
    MemoryJournal,
    NaiveDatetimeError,
    Session,
    SessionBoundaryManager,
    SessionGroup,
    SystemClock,
    WrongLoopError,
    WrongThreadError,
)
from session_lifecycle._runtime import home as home_module
from session_lifecycle.testing import SimulatedClock
from tests.helpers.builders import DAY, MONDAY, at, utc
from tests.helpers.harness import (
    ACTIVE,
    DEAF,
    ENDED,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    TIMEOUT,
    changes,
    make,
    need_asyncio,
    of,
    path,
    roll_nothing,
    run,
    running,
    season,
)

pytestmark = pytest.mark.anyio

NOON = at(MONDAY, (17, 0))


def in_a_thread(call: Callable[[], object]) -> BaseException | None:
    """Make a call in another thread, and return what it raises."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 -- returned
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return raised[0] if raised else None


async def turns(n: int = 5) -> None:
    """Let the event loop take some turns."""
    for _ in range(n):
        await anyio.lowlevel.checkpoint()
    await anyio.sleep(0.01)


CALLS: dict[str, Callable[[SessionBoundaryManager], object]] = {
    "stop()": lambda manager: manager.stop(),
    "halt()": lambda manager: manager.halt("panic"),
    "resume()": lambda manager: manager.resume(),
    "fail()": lambda manager: manager.fail("panic"),
    "end_session()": lambda manager: manager.end_session("panic"),
    "apply()": lambda manager: manager.apply(Closure(MONDAY, "panic")),
    "recover()": lambda manager: manager.recover(),
    "roll()": lambda manager: manager.roll(),
    "roll_transaction()": lambda manager: manager.roll_transaction(),
    "done_statement()": lambda manager: manager.done_statement(),
    "events()": lambda manager: manager.events(),
    "wait_for()": lambda manager: manager.wait_for(ENDED),
    "on()": lambda manager: manager.on(ACTIVE),
    "at()": lambda manager: manager.at("close"),
    "alarms()": lambda manager: manager.alarms("close"),
    "during()": lambda manager: manager.during(ACTIVE),
    "sessions()": lambda manager: manager.sessions(),
    "add_feed()": lambda manager: manager.add_feed("late", timeout=SECOND),
    "run()": lambda manager: manager.run(),
    "start()": lambda manager: manager.start(),
    "aclose()": lambda manager: manager.aclose(),
}
"""Every call of a running manager that any other thread is refused."""


def snapshot(manager: SessionBoundaryManager) -> object:
    """Return what a call could change."""
    host = manager._host
    counts = (len(host.handlers), len(host.broadcast._subscriptions or {}), manager.started)
    return manager.status(), manager.feeds, manager.halted, counts


async def test_fault_53_every_other_call_of_a_manager_from_a_thread_is_refused_before_anything_changes():
    """Awaited ones at the call, not where they are awaited; the message says how to hand it over."""
    manager, clock = make(NOON)
    async with running(manager) as log:
        before, heard = snapshot(manager), list(log)
        for name, call in CALLS.items():
            raised = in_a_thread(lambda call=call: call(manager))
            assert type(raised) is WrongThreadError, name
            assert raised.call == name
            assert "loop.call_soon_threadsafe" in str(raised)
            assert "current_trio_token().run_sync_soon" in str(raised)
        await turns()
        assert (snapshot(manager), log) == (before, heard)
        await clock.advance(5 * HOUR)  # the driver wakes, and leaving takes no time
        assert path(log)[-3:] == ["close_market", "end_session", "roll"]


async def test_fault_53_a_call_that_is_refused_leaves_the_drivers_sleep_as_it_was():
    """A call in the loop's own thread still ends it, though one from a thread was refused before."""
    manager, clock = make(NOON)
    async with running(manager) as log:
        assert isinstance(in_a_thread(lambda: manager.halt("panic")), WrongThreadError)
        manager.fail("really")
        await clock.advance(NOW)
        assert changes(log)[-1].reason == "really"


async def test_fault_53_every_call_of_a_feed_from_a_thread_is_refused():
    """But for record(), and for what is read."""
    manager, _ = make(NOON)
    feed = manager.add_feed("ticks", timeout=MINUTE)
    async with running(manager):
        for call in (lambda: feed.halt("panic"), feed.resume, feed.remove):
            assert type(in_a_thread(call)) is WrongThreadError
        assert (feed.halted, feed.removed, manager.feeds) == (None, False, (feed,))
        assert in_a_thread(lambda: (feed.can_trade, feed.last_data_at)) is None


async def test_fault_53_every_call_of_a_group_from_a_thread_is_refused():
    """It has the same home as its members."""
    clock = SimulatedClock(NOON)
    one, two = (SessionBoundaryManager(season(), roll_nothing, config=DEAF, clock=clock, name=name) for name in "ab")
    async with SessionGroup([one]) as group:
        calls: list[Callable[[], object]] = [
            group.stop,
            lambda: group.add(two),
            lambda: group.remove(one),
            group.events,
            group.run,
            group.start,
            group.aclose,
            lambda: one.halt("panic"),
        ]
        for call in calls:
            assert type(in_a_thread(call)) is WrongThreadError
        assert (group.managers, two.started, one.halted) == ((one,), False, None)


async def test_fault_53_a_simulated_clock_is_advanced_stepped_and_slept_by_at_home_only():
    """It may be read anywhere, and until it is first used, it has no home."""
    clock = SimulatedClock(NOON)
    assert in_a_thread(lambda: clock.step(SECOND)) is None
    await clock.advance(SECOND)
    calls: list[Callable[[], object]] = [
        lambda: clock.advance(SECOND),
        lambda: clock.advance_to(NOON + HOUR),
        lambda: clock.sleep(SECOND),
        lambda: clock.sleep_until(None, 5.0),
        lambda: clock.step(SECOND),
        clock.jumping,
        clock.holding,
    ]
    for call in calls:
        assert type(in_a_thread(call)) is WrongThreadError
    assert in_a_thread(lambda: (clock.now(), clock.monotonic(), clock.idle_for())) is None
    assert clock.now() == NOON + 2 * SECOND


async def test_fault_53_what_is_read_is_read_in_any_thread():
    """A thread of a web server shows the state."""
    manager, _ = make(NOON)
    manager.add_feed("ticks", timeout=MINUTE)
    names = [
        name
        for name, value in inspect.getmembers(type(manager), lambda value: isinstance(value, property))
        if not name.startswith("_") and value.fget is not None
    ]
    assert {"state", "session", "can_trade", "next_boundary", "term"} <= set(names)
    async with running(manager):
        assert in_a_thread(lambda: [getattr(manager, name) for name in names]) is None
        read: list[object] = []
        assert in_a_thread(lambda: read.append(manager.status())) is None
        assert read == [manager.status()]


async def test_fault_53_data_is_recorded_from_a_thread():
    """A plain store in ACTIVE; in TIMEOUT it is handed over, and ends that in the loop's next turn."""
    manager, clock = make(at(MONDAY, (14, 30)), config=LifecycleConfig(data_timeout=MINUTE))
    async with running(manager) as log:
        await clock.advance(50 * SECOND)
        assert in_a_thread(manager.record_data_received) is None
        await clock.advance(50 * SECOND)
        assert manager.state is ACTIVE
        await clock.advance(MINUTE)
        assert manager.state is TIMEOUT
        assert in_a_thread(manager.record_data_received) is None
        assert manager.state is TIMEOUT  # the loop has not turned
        await turns()
        assert manager.state is ACTIVE
        await clock.advance(2 * MINUTE)  # and silence is noticed again
        assert path(log)[-3:] == ["data_timeout", "data_resumed", "data_timeout"]


async def test_fault_53_the_freshest_of_what_threads_hand_over_counts():
    """Many messages wait as one; an old stamp does not refresh; a naive one is refused in its own thread."""
    manager, clock = make(at(MONDAY, (14, 30)))
    feed = manager.add_feed("a", timeout=MINUTE)
    async with running(manager):
        await clock.advance(10 * MINUTE)
        now = clock.now()
        assert in_a_thread(lambda: feed.record(now - HOUR)) is None
        await turns()
        assert manager.state is TIMEOUT
        for age in (HOUR, 5 * SECOND, MINUTE):
            assert in_a_thread(lambda age=age: feed.record(now - age)) is None
        naive = datetime(2024, 3, 4, 15)  # noqa: DTZ001 -- no time zone is the point
        for record in (feed.record, manager.record_data_received):
            assert isinstance(in_a_thread(lambda record=record: record(naive)), NaiveDatetimeError)
        await turns()
        assert (manager.state, feed.last_data_at) == (ACTIVE, now - 5 * SECOND)


async def test_fault_53_hand_overs_coalesce_to_one_pending(monkeypatch):
    """Of a thousand messages while the loop is busy, one call waits in the loop, for a manager and for each feed."""
    manager, clock = make(at(MONDAY, (14, 30)), config=LifecycleConfig(data_timeout=MINUTE))
    feeds = [manager.add_feed(name, timeout=MINUTE) for name in ("a", "b")]
    posted: list[object] = []
    post = home_module.Home.post
    monkeypatch.setattr(home_module.Home, "post", lambda home, call: (posted.append(call), post(home, call)))
    async with running(manager) as log:
        await clock.advance(2 * MINUTE)
        assert manager.stale_feeds == ("a", "b")

        def flood() -> None:
            for _ in range(1_000):
                feeds[0].record()
                feeds[1].record(clock.now())

        assert in_a_thread(flood) is None
        assert len(posted) == 1
        await turns()
        assert [event.feed for event in of(FeedResumed, log)] == ["a", "b"]
        assert manager.stale_feeds == ()
        assert manager.state is ACTIVE


async def test_fault_53_an_adaptive_feed_is_recorded_from_a_thread():
    """It learns there, and what is more is handed over."""
    manager, clock = make(at(MONDAY, (14, 30)))
    feed = manager.add_feed("slow", timeout=AdaptiveTimeout(floor=SECOND, ceiling=MINUTE))
    async with running(manager):
        for _ in range(3):
            await clock.advance(2 * SECOND)
            assert in_a_thread(feed.record) is None
        await clock.advance(2 * MINUTE)
        assert manager.stale_feeds == ("slow",)
        assert in_a_thread(feed.record) is None
        await turns()
        assert manager.stale_feeds == ()


async def test_fault_53_what_is_handed_over_after_the_end_is_dropped():
    """An SDK's thread goes on while the application leaves."""
    manager, clock = make(at(MONDAY, (14, 30)), config=LifecycleConfig(data_timeout=MINUTE))
    feed = manager.add_feed("a", timeout=MINUTE)
    async with running(manager) as log:
        await clock.advance(2 * MINUTE)
    heard = len(log)
    for call in (manager.record_data_received, feed.record, lambda: manager.record_data_received(clock.now())):
        assert in_a_thread(call) is None
    await turns()
    assert (len(log), manager.state) == (heard, TIMEOUT)


def test_fault_53_data_for_a_loop_that_has_ended_is_dropped(anyio_backend):
    """There is none to hand it over to."""
    manager, clock = make(at(MONDAY, (14, 30)), config=LifecycleConfig(data_timeout=MINUTE))

    async def main() -> None:
        async with manager:
            await clock.advance(2 * MINUTE)

    run(main, anyio_backend)
    assert in_a_thread(manager.record_data_received) is None
    assert manager.state is TIMEOUT


async def test_data_that_cannot_be_recorded_is_logged_where_it_was_handed_over(caplog):
    """The thread has gone on; on trio the exception would end the event loop."""
    home = home_module.Home()

    def fail(_: datetime | None) -> None:
        msg = "no clock"
        raise OSError(msg)

    taken: list[datetime | None] = []
    in_a_thread(lambda: (home.hand_over("one", fail, None), home.hand_over("two", taken.append, NOON)))
    await turns()
    assert taken == [NOON]
    assert ["could not be recorded" in record.message for record in caplog.records] == [True]


async def test_a_call_between_two_runs_of_the_loop_wakes_the_driver_when_it_runs_again(anyio_backend):
    """The driver's sleep cannot be cancelled then: it is not left marked as if it had been."""
    need_asyncio(anyio_backend)

    def by_hand() -> None:
        manager, clock = make(NOON)
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(manager.start())
            loop.run_until_complete(clock.advance(MINUTE))
            manager.fail("between")
            loop.run_until_complete(asyncio.sleep(0.01))
            manager.stop()
            loop.run_until_complete(asyncio.wait_for(manager.aclose(), 5))
        finally:
            loop.close()

    assert in_a_thread(by_hand) is None


@pytest.mark.parametrize("where", ["the same thread", "another thread"])
def test_fault_54_a_second_event_loop_is_refused(anyio_backend, where):
    """The manager, a feed and the clock remember the loop of the start, wherever the second one runs."""
    manager, clock = make(NOON)
    feed = manager.add_feed("a", timeout=MINUTE)

    async def first() -> None:
        await manager.start()
        await clock.advance(SECOND)

    async def second() -> None:
        calls: list[Callable[[], object]] = [
            lambda: manager.halt("x"),
            manager.recover,
            manager.aclose,
            feed.remove,
            lambda: clock.advance(SECOND),
            lambda: clock.sleep(SECOND),
            lambda: clock.step(SECOND),
        ]
        for call in calls:
            with pytest.raises(WrongLoopError, match="another event loop than the one that it was started in") as error:
                call()
            assert "loop.call_soon_threadsafe" in str(error.value)
            assert isinstance(error.value, WrongThreadError)
        assert clock.now() == NOON + SECOND

    run(first, anyio_backend)
    if where == "the same thread":
        run(second, anyio_backend)
    else:
        assert in_a_thread(lambda: run(second, anyio_backend)) is None


def test_signatures_documentation_and_kind_of_a_checked_method_stay_readable():
    """The check does not show."""
    signature = inspect.signature(SessionBoundaryManager.recover)
    assert str(signature) == "(self, resolution: session_lifecycle.Resolution = <Resolution.RETRY: 'retry'>) -> None"
    assert (SessionBoundaryManager.recover.__doc__ or "").startswith("Leave ERROR:")
    assert SessionBoundaryManager.recover.__qualname__ == "SessionBoundaryManager.recover"
    if hasattr(inspect, "markcoroutinefunction"):
        assert inspect.iscoroutinefunction(SessionBoundaryManager.recover)
        assert not inspect.iscoroutinefunction(SessionBoundaryManager.stop)


async def test_a_checked_method_may_be_a_handler():
    """It is async, though Python 3.11 does not show that of a function that is decorated."""
    clock = SimulatedClock(NOON)
    other = SessionBoundaryManager(season(), roll_nothing, config=DEAF, clock=clock)
    assert other.on(ACTIVE)(other.aclose) == other.aclose


def copies() -> list[Any]:
    """Return one of each kind that may not be copied."""
    clock = SimulatedClock(NOON)
    manager = SessionBoundaryManager(season(), roll_nothing, config=DEAF, clock=clock)
    feed = manager.add_feed("a", timeout=MINUTE)
    return [manager, feed, SessionGroup([manager]), MemoryJournal(), clock, SystemClock()]


@pytest.mark.parametrize("original", copies(), ids=lambda original: type(original).__name__)
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_fault_71_copies_are_refused(original, duplicate):
    """A copy would run, hold or count what the original does."""
    with pytest.raises(TypeError, match=f"a copy would share .* Make another {type(original).__name__}"):
        duplicate(original)


@pytest.mark.parametrize("attempt", range(3))
def test_fault_73_one_schedule_in_two_threads_is_right_in_both(attempt):
    """Two managers, each in a loop and a thread of its own, walk as one does alone."""
    day = timedelta(hours=7)
    schedule = FixedSchedule(
        [
            Session(MONDAY + n * DAY, at(MONDAY + n * DAY, (14, 0)), at(MONDAY + n * DAY, (14, 0)) + day)
            for n in range(80)
        ]
    )
    walked: list[list[object]] = []

    async def main() -> None:
        clock = SimulatedClock(at(MONDAY, (13, attempt)))
        manager = SessionBoundaryManager(schedule, roll_nothing, config=DEAF, clock=clock)
        async with running(manager) as log:
            for _ in range(70):
                await clock.advance(DAY)
                assert manager.scheduled_state is manager.state
        walked.append([(event.dest, event.session, event.scheduled_at) for event in changes(log)])

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(walked) == 3
    assert walked[0] == walked[1] == walked[2]
    assert len(walked[0]) > 300


def test_arguments_are_checked_by_name():
    """Before anything else happens, with the argument's own name."""
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"clock": "now"}, "clock must be a Clock, such as SystemClock\\(\\), not 'now'"),
        ({"clock": SystemClock}, "clock must be a Clock"),
        ({"journal": MemoryJournal}, "journal must be a Journal"),
        ({"schedule": FixedSchedule}, "a Schedule is needed, such as ExchangeSchedule"),
        ({"name": 7}, "name= must be a string that is not blank, or None, not 7"),
        ({"name": " "}, "name= must be a string"),
        ({"config": {}}, "config must be a LifecycleConfig, not {}"),
        ({"session": "2024-03-04"}, "session= must be the date of a session, .* not '2024-03-04'"),
        ({"session": utc(2024, 3, 4)}, "session= must be the date of a session"),
    ]
    for options, message in wrong:
        with pytest.raises(TypeError, match=message):
            SessionBoundaryManager(**{"schedule": season(), "roll_session": roll_nothing} | options)
    with pytest.raises(TypeError, match="clock must be a Clock"):
        SessionGroup(clock=5)


async def test_a_clock_whose_sleep_is_not_async_is_refused():
    """It would block the event loop."""

    class Blocking(SystemClock):
        def sleep(self, delta: timedelta) -> None:
            time.sleep(delta.total_seconds())

    with pytest.raises(TypeError, match=r"Blocking\.sleep must be async"):
        SessionBoundaryManager(season(), roll_nothing, clock=Blocking())


async def test_what_is_no_manager_is_not_removed_from_a_group():
    """A name is none."""
    with pytest.raises(TypeError, match=r"group\.remove\(\) takes SessionBoundaryManagers, not 'XNYS'"):
        await SessionGroup().remove("XNYS")
