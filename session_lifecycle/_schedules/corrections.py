"""What exchange_calendars is known to have wrong, with the source of every row.

A row holds the hours that exchange_calendars gives and the hours that are true, both in the exchange's local time. It
is applied only where a session has exactly those wrong hours: where a later release has put a day right, or says yet
something else about it, nothing is touched. Every row was found wrong in 4.13.2. The versions in between are told where
they are known: `first_wrong` is the first release with the error, `first_fixed` the first without it.

Not in the table, because no source was found: CMES before 2012-11-19, when the Globex day ended at 15:15 and began at
15:30 or 17:00 depending on the day; most of its Good Fridays (in 2018 and 2024 it was closed, so there is no rule); its
shortened 3 July in other years than those below, 2025 among them; until when after 2015 it halted at 15:15; the hour at
which Hong Kong resumed on the mornings that it lost to the weather up to 2014, and at which it stopped on 2022-11-02;
Korea's exam day of 2026.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, NamedTuple

import msgspec

from session_lifecycle._model.session import Session

_DAY: Final = timedelta(days=1)


class Correction(msgspec.Struct, frozen=True):
    """One session that was put right. None stands for "no session".

    `source` says who says so: addresses, separated by blanks. `first_wrong` and `first_fixed` are releases of
    exchange_calendars, None where they are not known.
    """

    __module__ = "session_lifecycle"

    date: date
    before: Session | None
    after: Session | None
    source: str
    first_wrong: str | None = None
    first_fixed: str | None = None


class CorrectedHours(NamedTuple):
    """A session's hours in local time. An open that is not before the close is one of the evening before."""

    open: time
    close: time
    breaks: tuple[tuple[time, time], ...] = ()

    def on(self, day: date, zone: tzinfo) -> Session:
        """Return the session of that date."""

        def at(hour: time, on: date = day) -> datetime:
            return datetime.combine(on, hour, zone).astimezone(UTC)

        opened = at(self.open, day - _DAY if self.open >= self.close else day)
        return Session(day, opened, at(self.close), tuple((at(start), at(end)) for start, end in self.breaks))


class Row(NamedTuple):
    """Known errors: what exchange_calendars says, and what is true, for some dates. None is "no session".

    `days` are single dates; a row with `since` holds for all sessions from then on, to `until` inclusive.
    """

    was: CorrectedHours | None
    true: CorrectedHours | None
    source: str
    days: tuple[str, ...] = ()
    since: date | None = None
    until: date = date.max
    first_wrong: str | None = None
    first_fixed: str | None = None

    @property
    def dates(self) -> tuple[date, ...]:
        """The single dates."""
        return tuple(map(date.fromisoformat, self.days))


def corrected(
    name: str, sessions: Iterable[Session], zone: tzinfo, first: date, last: date
) -> tuple[list[Session], list[Correction]]:
    """Return the sessions of a calendar from `first` to `last` with what is known to be wrong put right, and what was.

    Args:
        name: the calendar's canonical name.
        sessions: all that it has in that range, ascending.
        zone: the exchange's time zone.
        first: the first day of the range.
        last: the last one, inclusive.
    """
    found = {session.date: session for session in sessions}
    made: list[Correction] = []
    for row in TABLE.get(name, ()):
        days = row.dates if row.since is None else tuple(found)
        for day in days:
            if not first <= day <= last or (row.since is not None and not row.since <= day <= row.until):
                continue
            before = found.get(day)
            if before == (None if row.was is None else row.was.on(day, zone)):
                after = None if row.true is None else row.true.on(day, zone)
                made.append(Correction(day, before, after, row.source, row.first_wrong, row.first_fixed))
                if after is None:
                    del found[day]
                else:
                    found[day] = after
    made.sort(key=lambda correction: correction.date)
    return [found[day] for day in sorted(found)], made


def reach(name: str) -> tuple[date, date] | None:
    """Return the first and the last day that the table has rows for, `date.max` where one has no end; None: no row."""
    ends = [end for row in TABLE.get(name, ()) for end in _ends(row)]
    return (min(ends), max(ends)) if ends else None


def _ends(row: Row) -> Iterator[date]:
    yield from row.dates
    if row.since is not None:
        yield from (row.since, row.until)


_GITHUB: Final = "https://github.com/gerrymanoim/exchange_calendars"
_MONDO: Final = "https://mondovisione.com/media-and-resources/news"
_HKEX: Final = "https://www.hkex.com.hk/News/Market-Communications"

_GLOBEX: Final = CorrectedHours(time(17), time(17))
_GLOBEX_HOLIDAY: Final = CorrectedHours(time(17), time(12))

# CMES stands for the US equity-index products on CME Globex (ES, NQ, YM, RTY); other product groups keep other hours.
_CMES: Final = (
    Row(  # trading until the cash market would have opened, the national day of mourning for J. Carter
        None,
        CorrectedHours(time(17), time(8, 30)),
        f"{_MONDO}/cme-group-announces-trading-hours-for-us-national-day-of-mourning-to-honor-for/ "
        "https://stocktitan.net/news/CME/"
        "cme-group-announces-trading-hours-for-u-s-national-day-of-mourning-m5kw34fg9jbu.html",
        ("2025-01-09",),
        first_wrong="4.7",
    ),
    Row(  # likewise for G. H. W. Bush
        None,
        CorrectedHours(time(17), time(8, 30)),
        "https://www.prnewswire.com/news-releases/"
        "cme-group-us-equity-interest-rate-markets-to-close-for-national-day-of-mourning-300758702.html",
        ("2018-12-05",),
    ),
    Row(  # Good Fridays with a report on employment
        None,
        CorrectedHours(time(17), time(8, 15)),
        "https://daytradetowin.com/blog/good-friday-2015-trading-hours/",
        ("2015-04-03",),
    ),
    Row(
        None,
        CorrectedHours(time(17), time(8, 15)),
        "https://dailybuzzoffers.com/2021/04/02/market-snapshot-u-s-stock-futures-extend-rise-after-march-jobs-report-"
        "regular-trading-closed-for-good-friday",
        ("2021-04-02",),
    ),
    Row(
        None,
        CorrectedHours(time(17), time(8, 15)),
        "https://equity-insider.com/?p=132558 https://github.com/rsheftel/pandas_market_calendars/pull/311",
        ("2023-04-07",),
    ),
    Row(  # Hurricane Sandy
        _GLOBEX,
        CorrectedHours(time(17), time(8, 15)),
        "http://www.mypivots.com/board/topic/7539/1/hurricane-sandy-to-close-some-futures-markets "
        "https://prnewswire.com/news-releases/"
        "cme-group-to-reopen-us-equity-index-and-interest-rate-complexes-tonight-176339591.html",
        ("2012-10-29", "2012-10-30"),
    ),
    Row(  # Juneteenth
        _GLOBEX,
        _GLOBEX_HOLIDAY,
        f"{_GITHUB}/pull/585 "
        "https://daytradetowin.com/upcoming-trading-holidays-cme-group-juneteenth-july-4th/ "
        "https://www.forexlive.com/news/us-markets-closed-for-juneteenth-on-wednesday-june-19th-market-hours-impact-"
        "20240617/ https://github.com/QuantConnect/Lean/issues/9552",
        ("2022-06-20", "2023-06-19", "2024-06-19", "2025-06-19", "2026-06-19"),
    ),
    Row(
        _GLOBEX,
        CorrectedHours(time(17), time(12, 15)),
        "http://optionsthinktank.blogspot.com/2013/06/trading-schedule-times-given-are.html",
        ("2013-07-03",),
    ),
    Row(
        _GLOBEX,
        CorrectedHours(time(17), time(12, 15)),
        "https://daytradetowin.com/blog/july-4-independence-day-trading-holiday-hours/",
        ("2017-07-03",),
    ),
    Row(
        _GLOBEX,
        CorrectedHours(time(17), time(12, 15)),
        "https://github.com/QuantConnect/Lean/pull/9807 https://iqhelp.dtn.com/fourth-of-july-service-hours-2024",
        ("2023-07-03", "2024-07-03"),
    ),
    Row(
        _GLOBEX_HOLIDAY,
        CorrectedHours(time(17), time(10, 30)),
        "http://optionsthinktank.blogspot.com/2013/06/trading-schedule-times-given-are.html",
        ("2013-07-04",),
    ),
    Row(
        _GLOBEX_HOLIDAY,
        CorrectedHours(time(17), time(12, 15)),
        "http://www.zerohedge.com/news/2013-12-24/todays-early-market-closure-schedule",
        ("2013-12-24",),
    ),
    Row(
        _GLOBEX_HOLIDAY,
        CorrectedHours(time(17), time(12, 15)),
        "https://github.com/rsheftel/pandas_market_calendars/issues/464",
        ("2026-11-27",),
    ),
    Row(  # the end of the day at 16:15, with a halt after the close of the cash market
        _GLOBEX,
        CorrectedHours(time(17), time(16, 15), ((time(15, 15), time(15, 30)),)),
        "http://www.eminiroom.com/better-trader.php?id=35 https://ninjatrader.com/Advisories/Advisory25",
        since=date(2012, 11, 19),
        until=date(2015, 9, 18),
    ),
    Row(  # the end of the day at 16:00
        _GLOBEX,
        CorrectedHours(time(17), time(16)),
        "http://www.cmegroup.com/trading/equity-index/us-index/e-mini-sandp500_contract_specifications.html "
        f"https://ninjatrader.com/Advisories/Advisory25 {_GITHUB}/pull/594",
        since=date(2015, 9, 21),
    ),
)

_HONG_KONG: Final = CorrectedHours(time(9, 30), time(16), ((time(12), time(13)),))
_XHKG: Final = (
    Row(_HONG_KONG, None, f"{_HKEX}/2023/2309012news?sc_lang=en {_GITHUB}/pull/603", ("2023-09-01",)),
    Row(_HONG_KONG, None, f"{_HKEX}/2023/2309083news?sc_lang=en {_GITHUB}/pull/603", ("2023-09-08",)),
    # No morning, because of the weather; where trading began in the afternoon there was no lunch to break for.
    Row(_HONG_KONG, CorrectedHours(time(13, 30), time(16)), f"{_HKEX}/2020/2008192news?sc_lang=en", ("2020-08-19",)),
    Row(_HONG_KONG, CorrectedHours(time(13, 30), time(16)), f"{_HKEX}/2021/2106283news?sc_lang=en", ("2021-06-28",)),
    Row(
        _HONG_KONG,
        CorrectedHours(time(13), time(16)),
        "https://www.scmp.com/business/article/3190086/"
        "hong-kong-markets-halted-morning-session-typhoon-warning-china-tourism",
        ("2022-08-25",),
    ),
    Row(
        _HONG_KONG,
        CorrectedHours(time(14), time(16)),
        f"{_MONDO}/hkex-trading-in-securities-and-derivatives-markets-to-resume-after-cancellation-1/",
        ("2023-10-09",),
    ),
)

_KOREA: Final = CorrectedHours(time(9), time(15, 30))
_XKRX: Final = (
    Row(  # nationwide local elections
        _KOREA,
        None,
        f"{_GITHUB}/pull/574 https://github.com/lballabio/QuantLib/pull/2685",
        ("2026-06-03",),
    ),
    Row(  # Constitution Day, a public holiday again
        _KOREA,
        None,
        f"{_GITHUB}/pull/583 https://github.com/lballabio/QuantLib/pull/2685 "
        "https://github.com/vacanza/holidays/pull/3284",
        ("2026-07-17",),
    ),
    # The day of the college entrance exam: everything an hour later.
    Row(
        _KOREA,
        CorrectedHours(time(10), time(16, 30)),
        "https://www.donga.com/news/amp/all/20211104/110076830/1",
        ("2021-11-18",),
    ),
    Row(
        _KOREA,
        CorrectedHours(time(10), time(16, 30)),
        "https://en.yna.co.kr/view/AEN20221114005700320",
        ("2022-11-17",),
    ),
    Row(
        _KOREA,
        CorrectedHours(time(10), time(16, 30)),
        "https://en.yna.co.kr/view/AEN20231102004500320",
        ("2023-11-16",),
    ),
    Row(_KOREA, CorrectedHours(time(10), time(16, 30)), "https://m.wikitree.co.kr/articles/999852", ("2024-11-14",)),
    Row(
        _KOREA,
        CorrectedHours(time(10), time(16, 30)),
        "https://www.edaily.co.kr/News/Read?newsId=05520246642365064&mediaCodeNo=257",
        ("2025-11-13",),
    ),
)

# The exchange counts 239 trading days in 2026.
_XIDX: Final = (
    Row(
        CorrectedHours(time(9), time(15, 50)),
        None,
        "https://mureks.co.id/bei-umumkan-kalender-libur-bursa-2026-hanya-239-hari-perdagangan-cek-tanggal-pentingnya "
        f"{_GITHUB}/pull/589",
        (
            "2026-01-16",
            "2026-02-16",
            "2026-03-18",
            "2026-03-19",
            "2026-03-20",
            "2026-03-23",
            "2026-03-24",
            "2026-05-15",
            "2026-05-27",
            "2026-05-28",
            "2026-06-16",
            "2026-08-25",
            "2026-12-24",
        ),
    ),
)

_XBOM: Final = (
    Row(  # a Sunday, the Union Budget
        None,
        CorrectedHours(time(9, 15), time(15, 30)),
        "https://www.business-standard.com/amp/budget/news/"
        "budget-2026-bse-nse-trading-session-sunday-february-1-time-126011601035_1.html",
        ("2026-02-01",),
    ),
)

TABLE: Final[dict[str, tuple[Row, ...]]] = {
    "CMES": _CMES,
    "XBOM": _XBOM,
    "XHKG": _XHKG,
    "XIDX": _XIDX,
    "XKRX": _XKRX,
}
"""The rows for each calendar, by its canonical name."""
