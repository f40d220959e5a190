"""What a change of hours may do to a session that has begun: what has passed stays as it was."""

from collections.abc import Iterator
from datetime import datetime
from operator import itemgetter

from msgspec.structs import replace

from session_lifecycle._model.errors import OverrideRefused
from session_lifecycle._model.session import Session


def cut_short(session: Session, at: datetime) -> Session:
    """Return what is left of a session that is closed after its open: with the break that is on, trading was over.

    Raises:
        OverrideRefused: it has closed already.
    """
    if session.close <= at:
        raise OverrideRefused(
            session.date, f"the session has closed at {session.close.isoformat()}; end_session() ends it now"
        )
    close = next((start for start, end in session.breaks if start < at <= end), at)
    breaks = tuple((start, end) for start, end in session.breaks if end < close)
    return replace(session, close=close, breaks=breaks, post_market_end=at)


def hold_past(before: Session | None, after: Session, passed: datetime) -> None:
    """Raise `OverrideRefused` where an hour that has passed would be another one."""
    was = set(_hours(before)) if before is not None else set[tuple[str, datetime]]()
    will = set(_hours(after))
    for what, instant in sorted(was - will, key=itemgetter(1)):
        if instant <= passed:
            why = f"{what} was at {instant.isoformat()}, which has passed, and would be another one"
            raise OverrideRefused(after.date, f"{why} in {after}")
    for what, instant in sorted(will - was, key=itemgetter(1)):
        if instant <= passed:
            raise OverrideRefused(
                after.date, f"{what} would be at {instant.isoformat()}, which has passed; end_session() ends it now"
            )


def _hours(session: Session) -> Iterator[tuple[str, datetime]]:
    yield "open", session.open
    yield "close", session.close
    for start, end in session.breaks:
        yield "break start", start
        yield "break end", end
    if session.pre_market_start is not None:
        yield "pre_market_start", session.pre_market_start
    if session.post_market_end is not None:
        yield "post_market_end", session.post_market_end
