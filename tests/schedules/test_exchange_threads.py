"""`ExchangeSchedule` in several threads at once, and over decades, with a calendar that is arithmetic."""

import pickle
import random
import sys
import time as clock
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cache
from threading import Barrier
from typing import Any

import pytest

from session_lifecycle._model.overrides import Closure
from session_lifecycle._model.session import Session
from session_lifecycle._schedules import exchange, years
from session_lifecycle._schedules.corrections import Correction
from session_lifecycle._schedules.exchange import ExchangeSchedule

DAY = timedelta(days=1)
FIRST, LAST = date(2000, 1, 1), date(2060, 12, 31)
NEAR = datetime(2026, 6, 1, tzinfo=UTC)
CLOSED = date(2026, 6, 3)
"""A date on which an override closes the venue."""
THREADS = 4


@cache
def opened(day: date) -> Session:
    """Return the session of a date: from eight to sixteen. It is a value, and each is asked for a dozen times."""
    return Session(day, datetime.combine(day, time(8), UTC), datetime.combine(day, time(16), UTC))


def corrected(
    _: str, sessions: list[Session], __: object, first: date, last: date
) -> tuple[list[Session], list[Correction]]:
    """Correct the first day of each year to what it is already, so that a correction is on record."""
    days = [date(year, 1, 1) for year in range(first.year, last.year + 1)]
    return sessions, [Correction(day, None, opened(day), "arithmetic") for day in days]


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[int]]:
    """Have every day be a session, and count how often each year is built. Threads change places all the time."""
    counts: Counter[int] = Counter()

    def sessions_between(_: str, first: date, last: date) -> tuple[list[Session], tzinfo]:
        clock.sleep(0.001)  # others come in here
        counts.update(range(first.year, last.year + 1))
        return [opened(first + n * DAY) for n in range((last - first).days + 1)], UTC

    stand_ins: dict[str, Callable[..., Any]] = {
        "canonical_name": str,
        "known_days": lambda _: (FIRST, LAST),
        "sessions_between": sessions_between,
        "corrected": corrected,
        "reach": lambda _: (FIRST, LAST),
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(exchange, name, stand_in)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield counts
    sys.setswitchinterval(interval)


def asked(schedule: ExchangeSchedule, seed: int) -> list[object]:
    """Return the answers to a hundred queries, of years that are not loaded yet for the most part."""
    chance, answers = random.Random(seed), list[object]()
    for _ in range(100):
        day = FIRST + chance.randrange(60, (LAST - FIRST).days - 400) * DAY
        match chance.randrange(6):
            case 0:
                answers.append(schedule.session_at(datetime.combine(day, time(12), UTC)))
            case 1:
                answers.append(schedule.next_session(day))
            case 2:
                answers.append(schedule.previous_session(day))
            case 3:
                answers.append(schedule.sessions(day, day + 400 * DAY))
            case 4:
                answers.append(schedule.with_session(day, None).session_at(datetime.combine(day, time(12), UTC)))
            case _:
                answers.append(schedule.session_on(day))
    return answers


@pytest.mark.parametrize("seed", range(3))
def test_threads_with_one_schedule_object_get_the_answers_of_one(seed: int, builds: Counter[int]) -> None:
    """Each thread gets what a schedule of its own answers, and every correction is on record once."""
    schedule = ExchangeSchedule("ANY", near=NEAR, overrides=[Closure(CLOSED)])
    alone = ExchangeSchedule("ANY", near=NEAR, overrides=[Closure(CLOSED)])
    start = Barrier(THREADS)

    def run(number: int) -> list[object]:
        start.wait()
        return asked(schedule, number)

    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(run, range(seed * THREADS, (seed + 1) * THREADS)))
    assert together == [asked(alone, number) for number in range(seed * THREADS, (seed + 1) * THREADS)]
    dates = [each.date for each in schedule.corrections]
    assert dates == sorted(set(dates))
    assert builds


def test_threads_that_need_the_same_year_build_it_once(builds: Counter[int]) -> None:
    """A build takes seconds, so the second thread waits for it instead of building the year again."""
    schedule = ExchangeSchedule("ANY", near=NEAR)
    start = Barrier(THREADS)

    def run(_: int) -> list[Session]:
        start.wait()
        return [schedule.session_on(date(year, 6, 1)) for year in range(2026, 2036)]

    with ThreadPoolExecutor(THREADS) as pool:
        assert len({tuple(found) for found in pool.map(run, range(THREADS))}) == 1
    assert set(builds.values()) == {1}


@pytest.mark.usefixtures("builds")
def test_decades_in_one_process_do_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a schedule keeps does not grow with the sessions passed, and what was dropped is the same again."""
    monkeypatch.setattr(years, "_MOST_YEARS", 16)
    schedule = ExchangeSchedule("ANY", near=NEAR, overrides=[Closure(CLOSED)])
    first, sizes = schedule.next_session(CLOSED - DAY), list[int]()
    session = first
    while session.date.year < 2058:
        session = schedule.next_session(session.date)
        if session.date.month == session.date.day == 6:
            sizes.append(len(pickle.dumps(schedule)))
    assert max(sizes[16:]) < 1.4 * max(sizes[8:16])
    assert schedule.next_session(CLOSED - DAY) == first == opened(CLOSED + DAY), "the override holds"
    changed = schedule.with_session(CLOSED, opened(CLOSED))
    assert changed.sessions(date(2000, 1, 1), date(2060, 12, 31))[-1].date == LAST
    for year in range(2026, 2056):
        assert changed.session_on(date(year, 3, 1)).date.year == year
    assert changed.session_on(CLOSED) == opened(CLOSED), "so does what `with_session` has changed"


def test_what_a_backtest_goes_through_again_and_again_is_built_once(builds: Counter[int]) -> None:
    """Thirty years, session by session: the second time, and the third, nothing is built."""
    schedule = ExchangeSchedule("ANY", near=NEAR)
    built: list[int] = []
    for _ in range(3):
        session = schedule.next_session(date(2005, 1, 1))
        while session.date.year < 2035:
            session = schedule.next_session(session.date)
        built.append(builds.total())
    assert built[0] == built[1] == built[2] > 0


@pytest.mark.usefixtures("builds")
def test_a_schedule_can_be_copied_to_another_process() -> None:
    """A schedule is pickled with what it has loaded."""
    schedule = ExchangeSchedule("ANY", near=NEAR, overrides=[Closure(CLOSED)])
    again = pickle.loads(pickle.dumps(schedule))
    assert again.sessions(CLOSED - DAY, CLOSED + DAY) == schedule.sessions(CLOSED - DAY, CLOSED + DAY)
