"""A pandas that loses sessions is noticed, and told with what to do."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import exchange_calendars
import pandas as pd
import pytest

from session_lifecycle import CalendarUnavailable, ExchangeSchedule, MarketCalendarSchedule
from session_lifecycle._schedules import calendars
from tests.helpers.builders import utc

UNSAFE = "pandas 3.1.1 is not safe with exchange_calendars 4.13.2: pip install 'pandas<3.1'"
NEAR = utc(2025, 7, 1)


@pytest.fixture(autouse=True)
def tried_out_anew() -> Iterator[None]:
    """Have nothing remembered of another test."""
    trial = calendars.unsafe_pandas
    trial.cache_clear()
    yield
    trial.cache_clear()


@pytest.fixture
def unsafe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an unsafe pandas be installed."""
    monkeypatch.setattr(calendars, "unsafe_pandas", lambda: UNSAFE)


def test_the_installed_one_is_safe() -> None:
    """It keeps the Saturday that exchange_calendars gives a week, and Bombay has its session of the Union Budget."""
    assert calendars.unsafe_pandas() is None
    assert ExchangeSchedule("XBOM", near=NEAR).session_on(date(2025, 2, 1)).date.weekday() == 5


def test_one_that_loses_a_saturday_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what it does, whatever its version; the sentence has both versions and the remedy."""
    whole = pd.date_range

    def without_saturdays(*args: Any, **kwargs: Any) -> Any:
        days = whole(*args, **kwargs)
        return days[days.weekday < 5]

    monkeypatch.setattr(pd, "date_range", without_saturdays)
    unsafe = calendars.unsafe_pandas()
    assert unsafe is not None
    assert unsafe.startswith(f"pandas {pd.__version__} is not safe with exchange_calendars ")
    assert unsafe.endswith("pip install 'pandas<3.1'")


def test_another_exchange_calendars_is_not_accused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that no longer has the class that is tried out."""
    monkeypatch.delattr(exchange_calendars.pandas_extensions.offsets, "MultipleWeekmaskCustomBusinessDay")
    assert calendars.unsafe_pandas() is None


@pytest.mark.usefixtures("unsafe")
def test_building_a_calendar_warns() -> None:
    """Of either package, at the first build and at later ones."""
    with pytest.warns(UserWarning, match="is not safe with exchange_calendars"):
        schedule = ExchangeSchedule("XNYS", near=NEAR)
    with pytest.warns(UserWarning, match="is not safe with exchange_calendars"):
        schedule.session_on(date(2015, 7, 1))
    with pytest.warns(UserWarning, match="is not safe with exchange_calendars"):
        MarketCalendarSchedule("NYSE", near=NEAR)


@pytest.mark.usefixtures("unsafe")
@pytest.mark.filterwarnings("ignore:pandas 3.1.1 is not safe")
def test_a_calendar_that_cannot_be_built_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pandas raises says nothing of the cause."""

    def broken(*args: object, **kwargs: object) -> None:
        raise NotImplementedError("implemented by subclasses")

    monkeypatch.setattr(exchange_calendars, "get_calendar", broken)
    with pytest.raises(CalendarUnavailable) as caught:
        ExchangeSchedule("ASEX", near=NEAR)
    assert caught.value.reason == f"NotImplementedError: implemented by subclasses. {UNSAFE}"
