"""Read overrides from a TOML file: see `ExchangeSchedule.from_file`."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any, Final, NamedTuple, cast

from session_lifecycle._model.errors import LifecycleError, OverrideRefused
from session_lifecycle._model.overrides import Closure, Override, SpecialHours
from session_lifecycle._model.session import Phase
from session_lifecycle._schedules.text_files import parse_toml, read_text, shown


class OverridesFile(NamedTuple):
    """The content of an overrides file: the calendar's name, the overrides, and the schedule's other arguments."""

    calendar: str
    overrides: tuple[Override, ...]
    options: dict[str, bool]
    until: date | None = None
    night: str | None = None


_KINDS: Final[dict[str, type[Closure | SpecialHours]]] = {"closure": Closure, "special_hours": SpecialHours}
_OPTIONS: Final = ("corrections", "extended_hours", "phases")


def read_overrides(path: str | os.PathLike[str]) -> OverridesFile:
    """Return the content of a TOML file: see `ExchangeSchedule.from_file`.

    Raises:
        OverrideRefused: the file cannot be read, is not TOML, or has an unknown or invalid entry; names it.
    """
    try:
        content = parse_toml(read_text(path))
    except OSError as error:
        raise OverrideRefused(None, f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise OverrideRefused(None, f"cannot read {path}: it is not TOML ({error})") from error
    calendar = content.pop("calendar", None)
    if not isinstance(calendar, str):
        raise OverrideRefused(None, f'{path} must name its calendar, such as calendar = "XNYS"')
    options: dict[str, bool] = {name: content.pop(name) for name in _OPTIONS if name in content}
    for name, switch in options.items():
        if not isinstance(switch, bool):
            raise OverrideRefused(None, f"{path}: {name} must be true or false, not {shown(switch)}")
    until = content.pop("until", None)
    if until is not None and (not isinstance(until, date) or isinstance(until, datetime)):
        raise OverrideRefused(None, f"{path}: until must be a date, such as 2027-12-31, not {shown(until)}")
    night = content.pop("night", None)
    if night is not None and not isinstance(night, str):
        raise OverrideRefused(None, f'{path}: night must be the name of a venue, such as "BLUE", not {shown(night)}')
    found: list[Override] = []
    for kind, tables in content.items():
        if kind not in _KINDS or not isinstance(tables, list):
            known = ", ".join(("calendar", "until", "night", *_OPTIONS, *(f"[[{each}]]" for each in _KINDS)))
            raise OverrideRefused(None, f"{path}: {shown(kind)} is not understood; there can be {known}")
        found += [_from_table(path, kind, table) for table in cast("list[object]", tables)]
    return OverridesFile(calendar, tuple(found), options, until, night)


@contextmanager
def naming(path: str | os.PathLike[str]) -> Generator[None]:
    """Refuse what a schedule refuses in the content of a file as an `OverrideRefused` that names the file."""
    try:
        yield
    except OverrideRefused as error:
        raise OverrideRefused(error.date, f"{os.fspath(path)}: {error.why}") from error
    except (LifecycleError, OverflowError) as error:
        raise OverrideRefused(None, f"{os.fspath(path)}: {error}") from error


def _from_table(path: str | os.PathLike[str], kind: str, table: object) -> Override:
    factory = _KINDS[kind]
    given: object = table
    known = factory.__struct_fields__
    fields: dict[str, Any] = dict(cast("dict[str, Any]", table)) if isinstance(table, dict) else {}
    needed = "`date`"
    if kind == "special_hours":
        needed = "`date`, or `from` and `until`"
        if "from" in fields and "until" in fields and "date" not in fields:
            fields["date"] = fields.pop("from")
        elif "until" in fields:
            fields.pop("date", None)  # a season begins with `from`
    if "date" not in fields or not set(fields) <= set(known):
        raise OverrideRefused(
            None, f"{path}: [[{kind}]] {shown(given)} needs {needed}, and can have {', '.join(known)}"
        )
    if not isinstance(fields.get("reason", ""), str):
        raise OverrideRefused(None, f"{path}: [[{kind}]] {shown(given)}: `reason` must be a text")
    if fields.get("weekdays") == []:
        raise OverrideRefused(
            None, f"{path}: [[{kind}]] {shown(given)}: `weekdays` names none; leave it out for all of them"
        )
    try:
        if isinstance(fields.get("phases"), list):
            fields["phases"] = tuple(Phase(**each) for each in fields["phases"])
        return factory(**fields)
    except OverrideRefused as error:
        raise OverrideRefused(error.date, f"{path}: [[{kind}]] {shown(given)}: {error.why}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise OverrideRefused(None, f"{path}: [[{kind}]] {shown(given)}: {error}") from error
