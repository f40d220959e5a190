"""The value of an alarm: what it refuses, how it reads, and the instants that it stands for."""

from datetime import date, datetime, timedelta, timezone
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from session_lifecycle import Alarm, AlarmFired, ConfigurationError, LifecycleConfig, Misfire, Session, SessionState
from session_lifecycle._core.timeline import Timeline
from session_lifecycle._model.alarm import ANCHORS
from tests.helpers.builders import DAY, MICROSECOND, MONDAY, at, session, week
from tests.helpers.strategies import Hours, hours

WEEK = 7 * DAY
ZERO = timedelta(0)
LONGEST = timedelta(days=3650)
ANCHOR_RULE = "must be one of pre_market_start, open, break_start, break_end, close, end"
OFFSET_RULE = "must be a timedelta of at most 7 days either way"
GRACE_RULE = "must be a timedelta of zero or more, at most 3650 days"


class Odd:
    """Compares with nothing, and cannot be hashed."""

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        return False


ODD = Odd()


def test_an_alarm_is_a_value() -> None:
    """By default it goes off at its anchor, is skipped where it is missed, and forgives a second; it never changes."""
    alarm = Alarm("close")
    assert (alarm.anchor, alarm.offset, alarm.misfire, alarm.grace) == ("close", ZERO, Misfire.SKIP, timedelta(0, 1))
    with pytest.raises(AttributeError):
        alarm.anchor = "open"


def test_alarms_are_equal_by_all_that_they_say() -> None:
    """Two alarms are one where anchor, offset, misfire and grace are the same, and only there."""
    minutes = timedelta(minutes=15)
    alarm = Alarm("close", -minutes)
    assert alarm == Alarm("close", timedelta(minutes=-15)) == Alarm("close", -minutes, Misfire.SKIP, timedelta(0, 1))
    assert hash(alarm) == hash(Alarm("close", -minutes))
    others = [
        Alarm("open", -minutes),
        Alarm("close", minutes),
        Alarm("close", -minutes, Misfire.RUN_ONCE),
        Alarm("close", -minutes, grace=ZERO),
        Alarm("close", -minutes, recurring_after_restart=True),
    ]
    assert len({alarm, *others}) == 6


@pytest.mark.parametrize("anchor", ANCHORS)
@pytest.mark.parametrize("offset", [-WEEK, -MICROSECOND, ZERO, MICROSECOND, WEEK])
@pytest.mark.parametrize("misfire", Misfire)
@pytest.mark.parametrize("grace", [ZERO, MICROSECOND, LONGEST])
def test_what_is_in_range_is_taken(anchor: Any, offset: timedelta, misfire: Misfire, grace: timedelta) -> None:
    """Every anchor, offsets up to a week either way, both misfires, and graces from zero to ten years are taken."""
    alarm = Alarm(anchor, offset, misfire, grace)
    assert (alarm.anchor, alarm.offset, alarm.misfire, alarm.grace) == (anchor, offset, misfire, grace)


@pytest.mark.parametrize(
    ("arguments", "field", "value", "rule"),
    [
        *(
            ({"anchor": bad}, "anchor", bad, ANCHOR_RULE)
            for bad in ("", "Close", "close ", "midnight", b"close", None, 3, ["close"], {"close"}, ODD, Misfire.SKIP)
        ),
        # A boundary is an instant, and no phase may have its name: such an alarm would never fire.
        *(({"anchor": bad}, "anchor", bad, ANCHOR_RULE) for bad in ("close.start", "close.end", "end.end", "nøtt.end")),
        *(
            ({"offset": bad}, "offset", bad, OFFSET_RULE)
            for bad in (15, 0, -1.5, "15", None, True, [], WEEK + MICROSECOND, -WEEK - MICROSECOND, timedelta.max)
        ),
        ({"offset": timedelta.min}, "offset", timedelta.min, OFFSET_RULE),
        *(
            ({"misfire": bad}, "misfire", bad, "must be a Misfire")
            for bad in ("skip", "SKIP", "run-once", None, True, 0, Misfire, ODD)
        ),
        *(
            ({"grace": bad}, "grace", bad, GRACE_RULE)
            for bad in (1, 0, 0.5, "1", None, False, -MICROSECOND, LONGEST + MICROSECOND, timedelta.max, timedelta.min)
        ),
        *(
            ({"recurring_after_restart": bad}, "recurring_after_restart", bad, "must be a bool")
            for bad in (1, 0, "yes", None, [])
        ),
    ],
)
def test_fault_03_what_is_out_of_range_is_refused(
    arguments: dict[str, Any], field: str, value: object, rule: str
) -> None:
    """A bad anchor, offset, misfire or grace is refused by a message that names the field, the value and the rule."""
    with pytest.raises(ConfigurationError) as caught:
        Alarm(**({"anchor": "close"} | arguments))
    assert caught.value.field == field
    assert caught.value.value is value
    assert rule in str(caught.value)
    assert field in str(caught.value)


def test_the_first_bad_field_is_named() -> None:
    """Where several fields are bad, the message is about the first of them."""
    with pytest.raises(ConfigurationError) as caught:
        Alarm("noon", 15, "skip", -1)
    assert caught.value.field == "anchor"


@pytest.mark.parametrize(
    ("alarm", "text"),
    [
        (Alarm("open"), "open"),
        (Alarm("pre_market_start", ZERO), "pre_market_start"),
        (Alarm("close", timedelta(minutes=-15)), "close - 0:15:00"),
        (Alarm("break_end", timedelta(hours=1, seconds=5)), "break_end + 1:00:05"),
        (Alarm("end", timedelta(days=2)), "end + 2 days, 0:00:00"),
        (Alarm("end", -timedelta(days=1, hours=2)), "end - 1 day, 2:00:00"),
        (Alarm("break_start", MICROSECOND), "break_start + 0:00:00.000001"),
        (Alarm("open", -MICROSECOND, Misfire.RUN_ONCE, ZERO), "open - 0:00:00.000001"),
    ],
)
def test_how_an_alarm_reads(alarm: Alarm, text: str) -> None:
    """As text it is its anchor and its distance, with the sign in words that one would write."""
    assert str(alarm) == text


@pytest.mark.parametrize(
    ("anchor", "clocks"),
    [
        ("pre_market_start", [(9, 0)]),
        ("open", [(14, 30)]),
        ("break_start", [(16, 0), (18, 0)]),
        ("break_end", [(16, 30), (19, 0)]),
        ("close", [(21, 0)]),
        ("end", [(21, 30)]),
    ],
)
@pytest.mark.parametrize("offset", [-WEEK, timedelta(minutes=-15), ZERO, MICROSECOND, timedelta(hours=30)])
def test_the_instants_of_every_anchor(anchor: Any, clocks: list[tuple[int, int]], offset: timedelta) -> None:
    """It goes off at exactly its distance from its anchor: once, or for a session's every break once, ascending."""
    day = session(MONDAY, breaks=(((16, 0), (16, 30)), ((18, 0), (19, 0))))
    bounds = Timeline(week(), LifecycleConfig()).boundaries(day)
    assert Alarm(anchor, offset).instants(day, bounds) == tuple(at(MONDAY, clock) + offset for clock in clocks)


@pytest.mark.parametrize("anchor", ["break_start", "break_end"])
def test_a_session_without_breaks_has_no_alarms_of_breaks(anchor: Any) -> None:
    """Where the anchor is a break, a session that has none has no instants."""
    day = session(MONDAY)
    assert Alarm(anchor).instants(day, Timeline(week(), LifecycleConfig()).boundaries(day)) == ()


def test_the_venues_facts_are_the_anchors() -> None:
    """Where the venue itself says when a session begins and ends, alarms are counted from that."""
    day = session(MONDAY, pre_market_start=at(MONDAY, (8, 0)), post_market_end=at(MONDAY, (23, 0)))
    bounds = Timeline(week(), LifecycleConfig()).boundaries(day)
    hour = timedelta(hours=1)
    assert Alarm("pre_market_start", -hour).instants(day, bounds) == (at(MONDAY, (7, 0)),)
    assert Alarm("end", hour).instants(day, bounds) == (at(MONDAY + DAY, (0, 0)),)


def test_instants_are_in_utc() -> None:
    """Whatever zone a session's hours were given in, the instants are plain ones in UTC."""
    tokyo = timezone(timedelta(hours=9))
    day = Session(date(2024, 3, 4), datetime(2024, 3, 4, 9, tzinfo=tokyo), datetime(2024, 3, 4, 15, tzinfo=tokyo))
    (due,) = Alarm("open").instants(day, Timeline(week(), LifecycleConfig()).boundaries(day))
    assert (due, due.utcoffset()) == (at(MONDAY, (0, 0)), ZERO)


@given(hours(), st.sampled_from(ANCHORS), st.timedeltas(-WEEK, WEEK))
def test_instants_ascend_over_the_sessions(those: Hours, anchor: Any, offset: timedelta) -> None:
    """From one session to the next, the instants of an alarm never go back."""
    timeline = Timeline(those.schedule, those.config)
    alarm = Alarm(anchor, offset)
    instants = [due for each in those.sessions for due in alarm.instants(each, timeline.boundaries(each))]
    assert instants == sorted(instants)


@pytest.mark.parametrize(
    ("anchor", "offset", "key"),
    [
        ("close", ZERO, "close+0s"),
        ("close", -timedelta(minutes=15), "close-900s"),
        ("open", timedelta(hours=1), "open+3600s"),
        ("end", -MICROSECOND, "end-0.000001s"),
        ("end", timedelta(seconds=2.5), "end+2.5s"),
        ("pre_market_start", -WEEK, "pre_market_start-604800s"),
    ],
)
def test_its_key_is_its_anchor_and_offset(anchor: Any, offset: timedelta, key: str) -> None:
    """A journal names an alarm by a word that depends on anchor and offset alone, and on the whole of the offset."""
    assert Alarm(anchor, offset).key == key
    assert Alarm(anchor, offset, Misfire.RUN_ONCE, ZERO, recurring_after_restart=True).key == key


@given(st.timedeltas(-WEEK, WEEK), st.timedeltas(-WEEK, WEEK))
def test_keys_are_equal_where_the_instants_are(one: timedelta, other: timedelta) -> None:
    """Two offsets from one anchor have one key only if they are the same."""
    assert (Alarm("open", one).key == Alarm("open", other).key) is (one == other)


@pytest.mark.parametrize(("anchor", "minute"), [("break_start", 0), ("break_end", 30)])
def test_each_break_has_a_key_of_its_own(anchor: Any, minute: int) -> None:
    """The instants of an alarm on breaks are told apart by their number, which stays where hours change."""
    alarm = Alarm(anchor, -timedelta(minutes=5))
    day = session(breaks=(((16, 0), (16, 30)), ((18, 0), (18, 30))))
    later = session(breaks=(((16, 0), (16, 30)), ((19, 0), (19, 30))))
    bounds = Timeline(week(), LifecycleConfig()).boundaries(day)
    keys = [alarm.key_of(day, due) for due in alarm.instants(day, bounds)]
    assert keys == [f"{anchor}-300s", f"{anchor}-300s#2"]
    assert alarm.instants(day, bounds)[1] == at(MONDAY, (18, minute)) - timedelta(minutes=5)
    assert [alarm.number_of(later, due) for due in alarm.instants(later, bounds)] == [1, 2]
    fired = AlarmFired(
        alarm, MONDAY, alarm.instants(day, bounds)[1], at(MONDAY, (18, 30)), SessionState.ACTIVE, number=2
    )
    assert fired.key == keys[1]
    assert Alarm("close").number_of(day, day.close) == 1
