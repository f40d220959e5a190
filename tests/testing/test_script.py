"""Scripts: what they do and when, what they refuse at once, and what comes of them."""

import dataclasses
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from session_lifecycle import (
    AdaptiveTimeout,
    ClockStepped,
    ConfigurationError,
    FeedResumed,
    FeedStale,
    FixedSchedule,
    Halted,
    HaltRefused,
    HandlerFailed,
    MemoryJournal,
    NaiveDatetimeError,
    NotASession,
    Resumed,
    RollFailed,
    RollSucceeded,
    ScheduleChanged,
    ScheduleExhausted,
    Session,
    SessionBoundaryManager,
    SpecialHours,
    StateChanged,
)
from session_lifecycle.testing import Result, Script, assert_legal
from session_lifecycle.testing.strategies import fault_scripts
from tests.helpers.builders import DAY, MONDAY, utc
from tests.helpers.harness import (
    ACTIVE,
    ENDED,
    ERROR,
    HOUR,
    MINUTE,
    NOT_STARTED,
    POST_MARKET,
    PRE_MARKET,
    SECOND,
    THURSDAY,
    TIMEOUT,
    TUESDAY,
    WEDNESDAY,
)
from tests.helpers.scripts import (
    NEW_YORK,
    QUOTES,
    SCRIPT,
    WEEK,
    App,
    edges,
    play,
)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_day_is_played_in_the_exchange_s_time_on_each_backend(backend: str) -> None:
    """With the script's schedule and clock, whatever the application asks for."""
    result = play(QUOTES, backend=backend)
    assert edges(result) == [
        "04:00:00 PRE_MARKET",
        "09:30:00 ACTIVE",
        "16:00:00 POST_MARKET",
        "16:30:00 ENDED",
        "16:30:01 NOT_STARTED",
    ]
    assert result.manager is result.app.manager
    assert (result.manager.schedule, result.app.rolled) == (WEEK, [TUESDAY])
    assert result.manager.clock.now().astimezone(NEW_YORK).time() == time(22)
    assert repr(result.manager).endswith("stopped>")


def test_an_exchange_is_known_by_its_name() -> None:
    """A half day: the close is at 13:00, the end of the script six hours later."""
    script = Script("XNYS", date(2024, 11, 29))
    assert edges(play(script.data_every(MINUTE)))[1:3] == ["09:30:00 ACTIVE", "13:00:00 POST_MARKET"]
    assert [each.date for each in script.sessions] == [date(2024, 11, 29)]
    assert script.schedule.name == "XNYS"


# ---- the market ----


def test_data_comes_at_the_open_and_so_often_off_breaks_and_silences() -> None:
    """From the open, inclusive, to the close, exclusive; a silence begins with its first instant and not its last."""
    script = SCRIPT.data_every(30 * MINUTE, into=App.quote).silence("10:00", "11:45").silence("15:00", "15:30")
    seen = [f"{instant.astimezone(NEW_YORK):%H:%M}" for instant in play(script).app.seen]
    assert seen == ["09:30", "11:45", "13:00", "13:30", "14:00", "14:30", "15:30"]


def test_data_into_a_function_may_be_async() -> None:
    """It is awaited, in simulated time."""

    async def into(app: App) -> None:
        await app.manager.clock.sleep(SECOND)
        app.quote()

    assert play(SCRIPT.data_every(5 * HOUR, into=into)).app.seen == [
        utc(2024, 3, 4, 14, 30, 1),
        utc(2024, 3, 4, 19, 30, 2),
    ]


def test_a_silence_is_a_timeout_and_ends() -> None:
    """Five minutes after the last data, until it comes again."""
    result = play(QUOTES.silence("10:15", "10:25"))
    assert edges(result)[2:4] == ["10:19:00 TIMEOUT", "10:25:00 ACTIVE"]


async def wait_a_turn(_: object) -> None:
    """Do what takes no time."""
    await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("act", "hour"),
    [
        (lambda script: script, 0),
        (lambda script: script.call("00:00", wait_a_turn), 0),
        (lambda script: script.restart("10:00"), 10),
    ],
    ids=["no act", "call", "restart"],
)
def test_the_first_data_of_a_run_is_followed_by_the_second(act: Callable[[Script], Script], hour: int) -> None:
    """Where the market is open from the beginning of a run on, no message is left out before the first act.

    So the timeout is five minutes after the last minute before the silence.
    """
    script = act(Script(MIDNIGHT, TUESDAY).data_every(MINUTE))
    result = play(script.silence(f"{hour:02}:02", f"{hour:02}:09"))
    timeouts = [event.observed_at for event in result.of(StateChanged) if event.dest is TIMEOUT]
    assert timeouts == [utc(2024, 3, 5, hour, 6)]


class FeedTable(App):
    """Two feeds."""

    def __init__(self, manager_class: type[SessionBoundaryManager]) -> None:
        super().__init__(manager_class)
        self.manager.add_feed("AAPL", timeout=MINUTE)
        self.manager.add_feed("MSFT", timeout=AdaptiveTimeout(floor=MINUTE, ceiling=HOUR))


def test_data_comes_from_every_feed_and_a_silence_may_be_one_s_own() -> None:
    """The other feed is not stale."""
    result = play(SCRIPT.data_every(20 * SECOND).silence("10:15", "10:25", feed="AAPL"), FeedTable)
    assert [event.feed for event in result.of(FeedStale)] == ["AAPL"]
    assert [event.feed for event in result.of(FeedResumed)] == ["AAPL"]
    assert TIMEOUT not in {event.dest for event in result.of(StateChanged)}


def test_data_may_come_from_one_feed_alone() -> None:
    """The other has never said a word."""
    result = play(SCRIPT.data_every(20 * SECOND, feed="AAPL").silence("12:00", "13:00", feed="AAPL"), FeedTable)
    assert {(event.feed, event.never) for event in result.of(FeedStale)} == {("MSFT", True)}


def test_data_from_a_feed_that_is_none_is_refused() -> None:
    """When it is to come: the application may add its feeds as it goes."""
    with pytest.raises(ConfigurationError, match="data_every = 'TSLA' is refused: must be a feed of the manager when"):
        play(SCRIPT.data_every(MINUTE, feed="TSLA"), FeedTable)


def assert_no_message_is_missed(script: Script) -> None:
    """The events are those with every single message, also of the ones that are left out because nobody is awake."""
    plan = script._written.plan
    [data] = plan.data
    each = replace(data, into=lambda app: app.manager.record_data_received())
    every = Script(script.schedule, script.sessions[0].date)
    every._written = replace(script._written, plan=replace(plan, data=(each,)))

    def stripped(result: Result[Any]) -> list[object]:
        return [replace(e, error=None) if isinstance(e, RollFailed) else e for e in result.events]

    assert stripped(play(script)) == stripped(play(every))


@settings(max_examples=12, deadline=None)
@given(fault_scripts())
def test_data_that_nobody_can_see_makes_no_difference(script: Script) -> None:
    """Whatever the faults."""
    assert_no_message_is_missed(script)


def test_the_last_message_before_a_silence_comes_a_second_time_too() -> None:
    """After a step of the clock back the silence begins again, and the break: this time no task wakes as they do."""
    back = SCRIPT.data_every(MINUTE).silence("14:23", "14:33").step_clock("14:23", -6 * HOUR)
    assert_no_message_is_missed(back)
    to_timeout = [e for e in play(back).of(StateChanged) if e.dest is TIMEOUT]
    assert [f"{e.observed_at.astimezone(NEW_YORK):%H:%M}" for e in to_timeout] == ["08:27", "12:04", "14:27"]


def test_a_halt_is_resumed_or_lapses() -> None:
    """With an end, and without one."""
    result = play(QUOTES.halt("10:00", "10:10", reason="news").halt("15:00"))
    assert [event.reason for event in result.of(Halted)] == ["news", "halted by the script"]
    assert [(f"{e.observed_at:%H:%M}", e.lapsed) for e in result.of(Resumed)] == [("15:10", False), ("21:00", True)]


def test_other_hours_are_announced_and_the_data_goes_by_them() -> None:
    """An early close at 13:00, told at 11:00; no data comes after it."""
    script = SCRIPT.data_every(30 * MINUTE, into=App.quote).apply("11:00", SpecialHours(MONDAY, close=time(14)))
    result = play(script)
    assert len(result.of(ScheduleChanged)) == 1
    assert max(result.app.seen).astimezone(NEW_YORK).time() == time(13, 30)


# ---- the clock ----


def test_the_clock_is_stepped_and_what_follows_goes_by_it() -> None:
    """Five minutes forward at 11:00 leave less time to what is at 11:02; no time has passed."""
    stamps: list[tuple[str, float]] = []

    def stamp(app: App) -> None:
        clock = app.manager.clock
        stamps.append((f"{clock.now().astimezone(NEW_YORK):%H:%M}", clock.monotonic()))

    result = play(SCRIPT.call("11:00", stamp).step_clock("11:00", 5 * MINUTE).call("11:02", stamp).call("11:06", stamp))
    (_, before), (due, at_once), (_, later) = stamps
    assert (due, at_once - before, later - before) == ("11:05", 0, 60)
    assert result.of(ClockStepped)[0].delta == 5 * MINUTE
    back = play(SCRIPT.step_clock("11:00", -HOUR).call("11:30", stamp))
    assert stamps[-1] == ("11:30", before + 90 * 60)
    assert edges(back)[3] == "16:00:00 POST_MARKET"


def test_a_step_may_lead_out_of_the_script() -> None:
    """Then it is over; what was still to come happens at once."""
    called: list[object] = []
    result = play(SCRIPT.step_clock("11:00", 20 * HOUR).call("11:02", called.append))
    assert called == [result.app]


# ---- the roll ----


def test_a_roll_fails_as_often_as_is_said_before_the_application_s_own_is_reached() -> None:
    """The attempts are those that the manager makes: after a second, and after two."""
    result = play(QUOTES.roll_fails(2))
    assert [(f"{a.began_at:%H:%M:%S}", a.reached, a.succeeded) for a in result.rolls] == [
        ("21:30:00", False, False),
        ("21:30:01", False, False),
        ("21:30:03", True, True),
    ]
    assert {(a.session, a.next_session) for a in result.rolls} == {(MONDAY, TUESDAY)}
    assert str(result.rolls[0].error) == "the script fails the roll"
    assert (result.rolls[2].error, result.rolls[2].duration) == (None, SECOND)
    assert result.app.rolled == [TUESDAY]


def test_faults_of_the_roll_come_in_the_order_in_which_they_are_said() -> None:
    """With an error of one's own, after the application's roll, slowly, and then no more."""
    script = SCRIPT.roll_fails(error=KeyError("books")).roll_fails(after=True).slow_roll(MINUTE)
    result = play(script)
    assert [type(attempt.error) for attempt in result.rolls] == [KeyError, ConnectionError, type(None)]
    assert [attempt.duration for attempt in result.rolls] == [timedelta(0), SECOND, 61 * SECOND]
    assert result.app.rolled == [TUESDAY, TUESDAY]
    assert [event.attempt for event in result.of(RollSucceeded)] == [3]


def test_a_roll_that_is_too_slow_is_cut_short() -> None:
    """The attempt stands there with its cancellation."""
    result = play(SCRIPT.slow_roll(HOUR))
    assert [(attempt.reached, attempt.succeeded) for attempt in result.rolls] == [(False, False), (True, True)]
    assert result.rolls[0].duration == 5 * MINUTE


def test_each_session_has_faults_of_its_own() -> None:
    """`on` turns to it, for the times as well."""
    script = Script(WEEK, MONDAY, days=3).roll_fails().on(WEDNESDAY).roll_fails(2).halt("10:00", "10:10").on(TUESDAY)
    result = play(script.fail("12:30", "no power").recover("12:45"))
    assert [attempt.session for attempt in result.rolls] == [MONDAY, MONDAY, TUESDAY, *[WEDNESDAY] * 3]
    assert [event.session for event in result.of(Halted)] == [WEDNESDAY]
    assert [event.session for event in result.of(StateChanged) if event.dest is ERROR] == [TUESDAY]
    assert result.state_at("12:40", TUESDAY) is ERROR
    assert result.state_at("12:40") is result.state_at("12:40", WEDNESDAY) is TIMEOUT


# ---- people ----


def test_people_call_the_manager_and_the_application() -> None:
    """Sync and async; what waits for time to pass gets it."""

    async def report(app: App) -> None:
        await app.manager.clock.sleep(90 * MINUTE)
        app.quote()

    result = play(QUOTES.call("10:00", report).end_session("12:30", "done"))
    assert f"{result.app.seen[0]:%H:%M}" == "16:30"
    assert edges(result)[2:5] == ["12:30:00 POST_MARKET", "12:30:00 ENDED", "12:30:01 NOT_STARTED"]


def test_what_a_call_raises_ends_the_play_with_the_diary_as_a_note() -> None:
    """An assertion in the middle of the day."""

    def check(app: App) -> None:
        assert app.rolled, "no roll yet"

    with pytest.raises(AssertionError, match="no roll yet") as caught:
        play(QUOTES.call("10:00", check))
    [note] = caught.value.__notes__
    assert note.splitlines()[0].startswith("Script(<FixedSchedule 'days'")
    assert note.splitlines()[-1].startswith("  10:00:00  script: call(test_what_a_call_raises")


def test_an_async_call_may_fail_too() -> None:
    """Its error is raised as it is."""

    async def check(app: App) -> None:
        await app.manager.clock.sleep(SECOND)
        raise KeyError(app.manager.session.date)

    with pytest.raises(KeyError, match="2024, 3, 4"):
        play(QUOTES.call("10:00", check))


def test_the_last_session_that_a_schedule_knows_has_no_next_one() -> None:
    """Its data ends with it, and the roll that leads nowhere is an ERROR."""
    last = Script(WEEK, MONDAY + 59 * DAY).data_every(HOUR, into=App.quote)
    result = play(last)
    assert len(result.app.seen) == 6
    assert edges(result)[-2:] == ["17:30:00 ENDED", "17:30:00 ERROR"]
    assert result.rolls == ()


def test_what_the_manager_refuses_is_raised_in_a_strict_script() -> None:
    """A halt that is not one is not what the test meant."""
    with pytest.raises(HaltRefused):
        play(QUOTES.halt("17:00"))


def test_what_the_manager_refuses_is_kept_in_one_that_is_not_strict() -> None:
    """With the instant, the call and the error; the play goes on."""
    result = play(Script(WEEK, MONDAY, strict=False).halt("17:00", "17:10").fail("18:00", "no power"))
    [refused] = result.refused
    assert (refused.at, refused.what) == (utc(2024, 3, 4, 22), "halt('halted by the script')")
    assert isinstance(refused.error, HaltRefused)
    assert f"17:00:00  refused: {refused.error}" in repr(result)
    assert result.state_at("18:00") is ERROR


def test_a_restart_kills_the_application_and_makes_another() -> None:
    """Nothing of it is left but what the factory keeps: here a journal, so that the roll that was killed is resumed."""
    journal, made = MemoryJournal(), list[App]()

    class Journalled(App):
        def __init__(self, manager_class: type[SessionBoundaryManager]) -> None:
            self.manager = manager_class("XNYS", self.roll, journal=journal)
            self.rolled, self.seen = [], []
            made.append(self)

    script = SCRIPT.slow_roll(4 * MINUTE).restart("16:32", 10 * MINUTE).restart("17:00")
    result = play(script, Journalled)
    assert len(made) == len(result.runs) == 3
    assert result.app is made[2]
    assert [(event.resumed, f"{event.observed_at:%H:%M:%S}") for event in result.of(RollSucceeded)] == [
        (True, "21:42:01")
    ]
    assert [(attempt.reached, attempt.succeeded) for attempt in result.rolls] == [(False, False), (True, True)]
    assert result.runs[2] == ()
    assert len(result.events) == sum(map(len, result.runs))


# ---- a kill inside the roll ----


class Journalled(App):
    """An application with a journal that survives it, and books that may be written twice."""

    journal: MemoryJournal
    books: list[date]

    def __init__(self, manager_class: type[SessionBoundaryManager]) -> None:
        self.manager = manager_class("XLON", self.roll, journal=self.journal)
        self.rolled, self.seen = self.books, []


class EnteredJournalled(Journalled):
    async def __aenter__(self) -> None:
        await self.manager.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        await self.manager.__aexit__(*error)


class HostedJournalled(Journalled):
    async def run(self) -> None:
        async with self.manager:
            await anyio.sleep_forever()


class ServedJournalled(Journalled):
    async def run(self) -> None:
        await self.manager.run()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("kind", [Journalled, EnteredJournalled, HostedJournalled, ServedJournalled])
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_inside_the_roll_is_resumed_from_the_journal(backend: str, kind: Any, after: bool) -> None:
    """Before the application's roll, or after it: then it is repeated, with `resumed=True`."""
    journal, books = MemoryJournal(), list[date]()
    mine = type("Mine", (kind,), {"journal": journal, "books": books})
    result = play(SCRIPT.kill_in_roll(10 * MINUTE, after=after), mine, backend=backend)
    result.assert_legal()
    assert len(result.runs) == 2
    assert [(each.reached, each.succeeded) for each in result.rolls] == [(after, False), (True, True)]
    [done] = result.of(RollSucceeded)
    assert (done.resumed, done.next_session) == (True, TUESDAY)
    assert done.observed_at >= utc(2024, 3, 4, 21, 40)
    assert books == [TUESDAY] * (1 + after)
    assert "script: the application is killed in its roll" in repr(result)


def test_legal_events_of_a_script_know_its_restarts() -> None:
    """Each run begins anew; within one an event that cannot be is found."""
    result = play(SCRIPT.restart("11:00", HOUR))
    with pytest.raises(AssertionError, match="illegal"):
        assert_legal(result.events)
    result.assert_legal()
    broken = dataclasses.replace(result, runs=(result.runs[0], result.runs[1][1:-2] + result.runs[1][-1:]))
    with pytest.raises(AssertionError, match="illegal"):
        broken.assert_legal()


# ---- what the application asserts ----


class Asserting(App):
    """An application whose roll or handler asserts, in a task group of its own or not."""

    where = ""

    def __init__(self, manager_class: type[SessionBoundaryManager]) -> None:
        super().__init__(manager_class)
        self.manager.on(StateChanged)(self.check)
        self.manager.on(HandlerFailed)(self.check_failure)

    async def roll(self, next_date: date) -> None:
        if self.where == "group":
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.wrong)
        assert self.where != "roll" or self.rolled
        self.rolled.append(next_date)

    async def wrong(self) -> None:
        raise AssertionError("in a group")

    async def check(self, event: StateChanged) -> None:
        assert self.where != "handler" or event.dest is not ACTIVE
        if self.where == "chain":
            raise ValueError

    async def check_failure(self, event: HandlerFailed) -> None:
        assert self.where != "chain"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("where", ["roll", "group", "handler", "chain"])
@pytest.mark.parametrize("strict", [True, False])
def test_an_assertion_in_a_roll_or_a_handler_fails_the_test(where: str, backend: str, strict: bool) -> None:
    """Though the manager survives it, and a second attempt at the roll would succeed."""
    mine = type("Mine", (Asserting,), {"where": where})
    with pytest.raises(AssertionError) as failed:
        play(Script(WEEK, MONDAY, strict=strict), mine, backend=backend)
    assert failed.traceback[-1].path.name == "test_script.py"
    assert "Script(" in failed.value.__notes__[0]


def test_an_assertion_of_the_script_itself_is_a_fault_like_another() -> None:
    """`roll_fails` may raise one on purpose."""
    result = play(SCRIPT.roll_fails(error=AssertionError("on purpose")))
    assert [each.succeeded for each in result.rolls] == [False, True]


# ---- what is refused at once ----

SPAN = "from 2024-03-04 03:30 to 2024-03-04 22:00 local time"
MIDNIGHT = FixedSchedule([Session(MONDAY + n * DAY, utc(2024, 3, 4 + n), utc(2024, 3, 5 + n)) for n in range(3)])


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: SCRIPT.halt("03:00"), f"halt = '03:00' is refused: must lie within the script, which is {SPAN}"),
        (lambda: SCRIPT.silence("15:00", utc(2024, 3, 5, 4)), "silence = .* must lie within the script"),
        (lambda: SCRIPT.halt("soon"), "halt = 'soon' is refused: must be a local time at the exchange, such as"),
        (lambda: SCRIPT.halt("10:15+01:00"), r"halt = '10:15\+01:00' is refused"),
        (lambda: SCRIPT.halt(10), "halt = 10 is refused"),
        (lambda: SCRIPT.silence("10:15", "10:15"), r"silence = \('10:15', '10:15'\) is refused: must end after it"),
        (lambda: SCRIPT.halt("10:15", "10:05"), r"halt = \('10:15', '10:05'\) is refused: must end after it begins"),
        (lambda: SCRIPT.silence("10:15", "10:25").silence("10:20", "10:30"), "overlap the silence 10:15 to 10:25"),
        (lambda: SCRIPT.silence("10:15", "10:25", feed="A").silence("10:24", "10:30"), "must not overlap"),
        (lambda: SCRIPT.silence("10:15", "10:25").silence("10:24", "10:30", feed="A"), "must not overlap"),
        (lambda: SCRIPT.data_every(60), "interval = 60 is refused: must be a timedelta above zero"),
        (lambda: SCRIPT.data_every(timedelta(0)), "interval = "),
        (lambda: QUOTES.data_every(SECOND), "data_every = None is refused: has data in this script already"),
        (lambda: SCRIPT.step_clock("10:15", timedelta(0)), "step_clock = .* must be a timedelta other than zero"),
        (lambda: SCRIPT.step_clock("10:15", 5), "step_clock = 5 is refused"),
        (lambda: SCRIPT.roll_fails(0), "roll_fails = 0 is refused: must be a whole number of at least 1"),
        (lambda: SCRIPT.roll_fails(True), "roll_fails = True is refused"),
        (lambda: SCRIPT.roll_fails(error="no"), "roll_fails = 'no' is refused: must be an Exception"),
        (lambda: SCRIPT.slow_roll(5), "slow_roll = 5 is refused"),
        (lambda: SCRIPT.restart("10:15", timedelta(-1)), "restart = .* must be a timedelta of zero or more"),
        (lambda: SCRIPT.on(TUESDAY), "on = .* must be one of the script's sessions, from 2024-03-04 03:30"),
        (lambda: SCRIPT.call("10:15", 5), "call = 5 is refused: must be a function that takes the application"),
        (lambda: SCRIPT.data_every(SECOND, into=5), "into = 5 is refused: must be a function that takes the applic"),
        (lambda: Script(WEEK, MONDAY, days=0), "days = 0 is refused"),
        (lambda: Script(WEEK, MONDAY, days=1.5), "days = 1.5 is refused"),
        (lambda: play(SCRIPT).state_at("02:00"), "state_at = '02:00' is refused"),
        (lambda: play(SCRIPT.silence("10:15", "10:25")), "silence = '10:15 to 10:25' is refused: must interrupt data"),
        (lambda: play(SCRIPT.data_every(MINUTE, feed="A").silence("10:15", "10:25", feed="B")), "must interrupt data"),
    ],
)  # fmt: skip
def test_a_bad_script_is_refused_with_the_value_named(build: Callable[[], object], said: str) -> None:
    """At once, but for a silence of nothing, whose data may yet be said."""
    with pytest.raises(ConfigurationError, match=said):
        build()


def test_a_day_that_is_none_and_a_naive_instant_are_refused_as_everywhere() -> None:
    """With the errors of the library."""
    with pytest.raises(TypeError, match=r"day must be a datetime.date .* not '2026-01-05'"):
        Script("XNYS", "2026-01-05")
    with pytest.raises(NotASession):
        Script(WEEK, MONDAY - DAY)
    with pytest.raises(ScheduleExhausted):
        Script(WEEK, MONDAY + 58 * DAY, days=3)
    with pytest.raises(NaiveDatetimeError, match="halt is 2024-03-04T10:00:00"):
        SCRIPT.halt(datetime(2024, 3, 4, 10))  # noqa: DTZ001 -- which is the point


# ---- local times ----


def instant(script: Script, at: Any, day: date | None = None) -> datetime:
    """Return what a time stands for, by when it happens."""
    called: list[datetime] = []
    script = script if day is None else script.on(day)
    play(script.call(at, lambda app: called.append(app.manager.clock.now())))
    return called[0]


def test_a_time_is_the_one_in_the_session_else_the_nearest_to_it() -> None:
    """An overnight session has an evening and a morning; the day before has neither."""
    futures = FixedSchedule(
        [
            Session(day, datetime.combine(day - DAY, time(17), NEW_YORK), datetime.combine(day, time(16), NEW_YORK))
            for day in (TUESDAY, WEDNESDAY, THURSDAY)
        ],
        timezone=NEW_YORK,
    )
    script = Script(futures, TUESDAY, days=2)
    assert instant(script, "18:00") == utc(2024, 3, 4, 23)
    assert instant(script, "12:00") == utc(2024, 3, 5, 17)
    assert instant(script, time(16, 30)) == utc(2024, 3, 4, 21, 30)
    assert instant(script, "12:00", WEDNESDAY) == utc(2024, 3, 6, 17)
    assert instant(script, datetime(2024, 3, 4, 12, tzinfo=NEW_YORK)) == utc(2024, 3, 4, 17)


def test_a_day_begins_six_hours_before_the_open_but_not_before_the_previous_close() -> None:
    """Round the clock, a session is all that there is of its day."""
    assert instant(SCRIPT, "03:30") == utc(2024, 3, 4, 8, 30)
    assert instant(Script(MIDNIGHT, TUESDAY), "00:00") == utc(2024, 3, 5)
    assert play(Script(MIDNIGHT, TUESDAY)).events[0].observed_at == utc(2024, 3, 5)


def test_a_time_over_which_the_clocks_leap_is_another_day_s() -> None:
    """New York has no 02:30 on 10 March, and so the nearest is outside of the script."""
    sunday = date(2024, 3, 10)
    schedule = FixedSchedule([Session(sunday, utc(2024, 3, 10, 6), utc(2024, 3, 10, 9))], timezone=NEW_YORK)
    assert instant(Script(schedule, sunday), "03:30") == utc(2024, 3, 10, 7, 30)
    with pytest.raises(ConfigurationError, match="halt = '02:30' is refused"):
        Script(schedule, sunday).halt("02:30")


# ---- what comes of it ----


def test_the_state_at_a_time_is_the_new_one_at_a_change() -> None:
    """Before the first event it is NOT_STARTED."""
    result = play(QUOTES)
    at = ["03:30", "04:00", "09:29:59", "09:30", "15:59:59.999999", "16:00", "16:30", time(16, 30, 1)]
    states = [NOT_STARTED, PRE_MARKET, PRE_MARKET, ACTIVE, ACTIVE, POST_MARKET, ENDED, NOT_STARTED]
    assert [result.state_at(each) for each in at] == states
    assert result.path == ("start_pre_market", "open_market", "close_market", "end_session", "roll")


def test_a_result_prints_as_a_diary() -> None:
    """The script as one would write it, and a line for each fact in the exchange's time, fractions where there are."""
    script = (
        Script(WEEK, MONDAY, days=2)
        .halt("10:00", "10:10")
        .step_clock("11:00:00.5", -2 * HOUR)
        .roll_fails(2, after=True)
    )
    lines = repr(play(script)).splitlines()
    assert lines[0] == (
        f"Script({WEEK!r}, date(2024, 3, 4), days=2).halt('10:00', '10:10').step_clock('11:00:00.5', "
        "-timedelta(hours=2)).roll_fails(2, after=True)"
    )
    assert lines[1:10] == [
        "Monday, 2024-03-04",
        "  04:00:00  2024-03-04 NOT_STARTED → PRE_MARKET by start_pre_market",
        "  09:30:00  2024-03-04 PRE_MARKET → ACTIVE by open_market",
        (
            "  09:35:00  2024-03-04 ACTIVE → TIMEOUT by data_timeout (no data for 0:05:00 (data_timeout); "
            "none at all since the open: check the connection, and the calendar)"
        ),
        "  10:00:00  script: halt('halted by the script')",
        "  10:00:00  2024-03-04 trading halted: halted by the script",
        "  10:10:00  script: resume()",
        "  10:10:00  2024-03-04 trading resumed",
        "  11:00:00.5  script: step_clock(-timedelta(hours=2))",
    ]
    assert "Tuesday, 2024-03-05" in lines


def test_the_diary_shows_where_the_application_s_own_errors_come_from() -> None:
    """Of a handler and of a roll; what the script has raised needs no trace."""

    class Broken(App):
        def __init__(self, manager_class: type[SessionBoundaryManager]) -> None:
            super().__init__(manager_class)
            self.manager.on(ACTIVE)(self.break_down)

        async def break_down(self, event: StateChanged) -> None:
            raise ValueError

        async def roll(self, next_date: date) -> None:
            raise KeyError

    result = play(QUOTES.roll_fails(), Broken)
    assert len(result.of(HandlerFailed)) == 1
    shown = repr(result)
    assert "in break_down\n    raise ValueError\nValueError\n" in shown
    assert shown.count("in roll\n    raise KeyError\nKeyError") == 2
    assert "raise fault.error" not in shown


def test_a_script_is_a_value() -> None:
    """Each method returns a longer one; the same words are the same script."""
    longer = SCRIPT.halt("10:00")
    assert repr(SCRIPT) == f"Script({WEEK!r}, date(2024, 3, 4))"
    assert (longer == SCRIPT.halt("10:00"), longer == SCRIPT, longer == "halt") == (True, False, False)
    assert len({longer, SCRIPT.halt("10:00"), SCRIPT}) == 2
    assert repr(Script(WEEK, MONDAY, strict=False).data_every(90 * SECOND, feed="A").call("10:00", print)).endswith(
        ", strict=False).data_every(timedelta(minutes=1, seconds=30), feed='A').call('10:00', print)"
    )


def test_the_error_of_a_failing_roll_is_of_the_script() -> None:
    """It is printed with it, so that the script can be copied, and it makes two scripts different."""
    locked = SCRIPT.roll_fails(2, error=OSError("locked"))
    assert repr(locked).endswith(".roll_fails(2, error=OSError('locked'))")
    assert locked != SCRIPT.roll_fails(2)
    assert repr(SCRIPT.roll_fails(2)).endswith(".roll_fails(2)")
