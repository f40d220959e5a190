"""Events of the phases of a session."""

from datetime import date, datetime, timedelta

from session_lifecycle._model.event_base import WARNING, Scheduled, TaggedEvent


class PhaseStarted(Scheduled, TaggedEvent, frozen=True, gc=False):  # no field can refer back to it
    """A phase of the venue began, by the clock: a night, an auction, an after-market.

    `session` is the trade date that the phase counts for, which may be another session than the application's: an
    after-market outlasts the roll. The state is not affected.
    """

    __module__ = "session_lifecycle"

    phase: str
    session: date
    scheduled_at: datetime
    observed_at: datetime
    tradable: bool
    data_expected: bool = True
    catch_up: bool = False
    name: str | None = None

    def _text(self) -> str:
        return f"{self.session} {self.phase} started"


class PhaseEnded(Scheduled, TaggedEvent, frozen=True, gc=False):  # no field can refer back to it
    """A phase of the venue ended, by the clock. `session` is the trade date that it counted for."""

    __module__ = "session_lifecycle"

    phase: str
    session: date
    scheduled_at: datetime
    observed_at: datetime
    catch_up: bool = False
    name: str | None = None

    def _text(self) -> str:
        return f"{self.session} {self.phase} ended"


class DataStale(Scheduled, TaggedEvent, frozen=True, gc=False):  # no field can refer back to it
    """Data was missing, outside of ACTIVE, for longer than the budget of the phase that is on.

    The budget is `LifecycleConfig.data_timeouts`. The state is not affected. After data has come it may be emitted
    again. `last_data_at` is when the newest data was fresh, None where there has been none.
    """

    __module__ = "session_lifecycle"
    _level = WARNING

    phase: str
    session: date
    scheduled_at: datetime
    observed_at: datetime
    timeout: timedelta
    last_data_at: datetime | None = None
    name: str | None = None

    def _text(self) -> str:
        return f"{self.session} no data for {self.timeout} in {self.phase}"
