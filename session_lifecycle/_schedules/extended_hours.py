"""Hours before the open and after the close that venues publish, with the source of every row.

exchange_calendars knows none. A row holds for sessions with the regular hours that it names; on a day with others, what
the venue does before and after them is not known, and the durations of the configuration apply.

What does not fit five states in a row: where the post-market begins after a gap (Toronto, Xetra), the gap is part of
POST_MARKET. Overnight sessions of US venues (announced: NYSE Arca 01:30 to 23:30, Nasdaq a night session from 21:00)
are not in here; they would be sessions of a calendar of their own, since they can trade on a date of their own.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, tzinfo
from typing import Final, NamedTuple

from msgspec.structs import replace

from session_lifecycle._model.session import Session


class Extended(NamedTuple):
    """A venue's published hours around its regular ones, in local time.

    `post` maps a regular close to the end of the post-market; `pre` is None where nothing is traded before the open.
    """

    open: time
    pre: time | None
    post: Mapping[time, time]
    since: date
    source: str


def extended(row: Extended, sessions: Iterable[Session], zone: tzinfo) -> list[Session]:
    """Return the sessions with `pre_market_start` and `post_market_end` filled in, where they are known."""
    filled: list[Session] = []
    for session in sessions:
        opened, closed = session.open.astimezone(zone), session.close.astimezone(zone)
        known = session.date >= row.since and closed.date() == session.date == opened.date()
        start = row.pre if known and opened.time() == row.open else None
        end = row.post.get(closed.time()) if known else None
        filled.append(
            replace(session, pre_market_start=_at(session, start, zone), post_market_end=_at(session, end, zone))
        )
    return filled


def _at(session: Session, hour: time | None, zone: tzinfo) -> datetime | None:
    return None if hour is None else datetime.combine(session.date, hour, zone).astimezone(UTC)


TABLE: Final[dict[str, Extended]] = {
    # XNAS is another name of XNYS in exchange_calendars. Nasdaq opened at 04:00 from 2013 on (7:00 before), NYSE Arca
    # likewise; half days end at 17:00 on Nasdaq, and by NYSE's notices from 2023 on, there too.
    "XNYS": Extended(
        time(9, 30),
        time(4),
        {time(16): time(20), time(13): time(17)},
        date(2014, 1, 1),
        "https://www.nasdaq.com/about/trading-schedule.aspx "
        "https://www.nasdaqtrader.com/TraderNews.aspx?id=ETA2019-93 "
        "https://mondovisione.com/media-and-resources/news/"
        "nyse-group-announces-2026-2027-and-2028-holiday-and-early-closings-calendar-20251223/",
    ),
    # The Extended Xetra Retail Service: retail orders only. From the close to 17:40 (17:35 without Trade-at-Close) come
    # the closing auction and Trade-at-Close.
    "XETR": Extended(
        time(9),
        time(8),
        {time(17, 30): time(22)},
        date(2025, 12, 1),
        "https://www.cashmarket.deutsche-boerse.com/cash-en/Stay-Informed/circulars-newsletters/"
        "deutsche-boerse-circulars/Introduction-of-the-Extended-Xetra-Retail-Service-early-and-late-trading-Planned-"
        "changes-to-the-trading-process-valid-from-1-December-2025-4793480",
    ),
    # 16:15 to 17:00, at the last sale price. The page has no date, so the past is left alone.
    "XTSE": Extended(
        time(9, 30),
        None,
        {time(16): time(17)},
        date(2024, 1, 1),
        "https://tsx.com/ebooks/en/order-types-guide/8",
    ),
}
"""The row for each venue, by its calendar's canonical name."""
