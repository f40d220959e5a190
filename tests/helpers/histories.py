"""Legal histories of a journal, drawn by Hypothesis, whose import is too slow for the processes that tests start."""

from datetime import date, datetime, timedelta

import hypothesis.strategies as st

from session_lifecycle import Entry, Record
from session_lifecycle._journal.records import changed
from tests.helpers.builders import DAY, MONDAY, at
from tests.helpers.journals import NOTED, numbered

instants = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(NOTED.tzinfo))  # noqa: DTZ001 -- Hypothesis gives them the zone
# Not st.text(): it takes seconds to find out about Unicode, in every clean checkout anew.
letters = st.sampled_from('a \n\r\t\x00"\\{}é\u2028☃😀\udcff\udfff') | st.integers(0, 0x10FFFF - 0x400).map(
    lambda number: chr(number if number < 0xD800 else number + 0x400)
)
notes = st.lists(letters, max_size=12).map("".join)
"""Notes of any characters, newlines among them, and the lone surrogates by which Python writes bytes of file names.

The other half of the surrogates is left out: JSON reads one of each, side by side, as the character that they mean.
"""


@st.composite
def histories(draw: st.DrawFn, *, most: int = 12) -> list[Record]:
    """Draw a journal such as managers write, over any number of runs."""
    day = MONDAY
    records = [Record(Entry.ADOPTED, day, draw(instants), **draw(_hours(day)))]
    ended = error = False
    intended: date | None = None
    abandoned_target: date | None = None
    for _ in range(draw(st.integers(0, most))):
        legal = [Entry.ADOPTED, Entry.INTENT] if intended is None else [Entry.DONE]
        legal += [] if ended or error else [Entry.ENDED]
        legal += [Entry.RECOVERED, Entry.SKIPPED, Entry.DONE] if error else [Entry.FAILED]
        legal += [Entry.HALTED, Entry.RESUMED, Entry.CHANGED, Entry.ALARM_BEGUN, Entry.ALARM_ENDED]
        entry = draw(st.sampled_from(legal))
        target = intended or max(day, abandoned_target or day) + draw(st.integers(1, 4)) * DAY
        when, note = draw(instants), draw(notes)
        match entry:
            case Entry.ADOPTED:
                day, ended, error, abandoned_target = day + DAY, False, False, None
                records.append(Record(entry, day, when, **draw(_hours(day)), note=note))
            case Entry.INTENT:
                intended, ended = target, True
                skipped = tuple(day + n * DAY for n in range(1, (target - day).days))
                records.append(Record(entry, day, when, target, skipped, **draw(_hours(target)), note=note))
            case Entry.DONE:
                records.append(Record(entry, day, when, target, **draw(_hours(target)), note=note))
                day, ended, error, intended, abandoned_target = target, False, False, None, None
            case Entry.SKIPPED:
                records.append(Record(entry, day, when, target, note=note))
                ended, error, intended, abandoned_target = True, False, None, target
            case Entry.HALTED | Entry.RESUMED | Entry.ALARM_BEGUN | Entry.ALARM_ENDED:
                records.append(Record(entry, day, when, note=note, subject=draw(st.sampled_from(["", "one", "two"]))))
            case Entry.CHANGED:
                records.append(changed(day + draw(st.integers(0, 6)) * DAY, None, day, when))
            case _:
                records.append(Record(entry, day, when, note=note))
                ended = ended or entry is Entry.ENDED
                error = entry is Entry.FAILED or (error and entry is not Entry.RECOVERED)
    return numbered(records)


def _hours(day: date) -> st.SearchStrategy[dict[str, datetime]]:
    shifts = st.timedeltas(timedelta(0), timedelta(hours=2))
    some = st.builds(lambda a, b: {"open": at(day, (9, 0)) + a, "close": at(day, (16, 0)) + b}, shifts, shifts)
    return st.just({}) | some
