"""A snapshot of one lifecycle, for health checks, dashboards and logs."""

from datetime import date, datetime
from typing import cast

import msgspec

from session_lifecycle._model.plain import struct_as_dict
from session_lifecycle._model.states import SessionState


class Status(msgspec.Struct, frozen=True):
    """What a lifecycle knew at its last reading of the clock, `observed_at`. Instants are aware, in UTC.

    `state` is the machine's, `scheduled_state` the one that schedule and clock alone imply. `next_boundary` is when the
    scheduled state changes next, None where the schedule's knowledge ends. `reason` says why the state is ERROR or
    TIMEOUT, `halted` why trading is halted. `last_data_at` is when the manager's own newest data was fresh. `feeds` is
    the number of registered feeds, `stale_feeds` the names of the stale ones, the longest stale first, and
    `halted_feeds` those of the halted ones. `market_open` says that the market is open by the schedule, whatever the
    state. With `awaiting_first_tick`, `can_trade` waits for nothing but data since the open, the break or the halt.
    `running` is False before the start and after the end: then `state` is NOT_STARTED, or the last one. `leads` is
    False before the start too, and while another replica leads the shared journal.
    `phase` is the name of the venue's phase, None where none is on.
    """

    __module__ = "session_lifecycle"

    name: str | None
    schedule: str
    state: SessionState
    scheduled_state: SessionState
    session: date
    open: datetime
    close: datetime
    next_boundary: datetime | None
    on_break: bool
    can_trade: bool
    roll_owed: bool
    roll_attempt: int
    last_data_at: datetime | None
    reason: str | None
    observed_at: datetime
    halted: str | None = None
    feeds: int = 0
    stale_feeds: tuple[str, ...] = ()
    halted_feeds: tuple[str, ...] = ()
    market_open: bool = False
    awaiting_first_tick: bool = False
    running: bool = True
    leads: bool = True
    phase: str | None = None

    def as_dict(self) -> dict[str, str | int | bool | list[str] | None]:
        """Return the snapshot as plain JSON values: states by value, dates and UTC instants as ISO 8601."""
        return cast("dict[str, str | int | bool | list[str] | None]", struct_as_dict(self))
