"""Read overrides from a TOML file: see `ExchangeSchedule.from_file`."""

import os
from typing import Any, Final, NamedTuple, cast

from session_lifecycle._model.errors import OverrideRefused
from session_lifecycle._model.overrides import Closure, Override, SpecialHours
from session_lifecycle._schedules.text_files import parse_toml, read_text, shown


class OverridesFile(NamedTuple):
    """The content of an overrides file: the calendar's name, the overrides, and the schedule's other arguments."""

    calendar: str
    overrides: tuple[Override, ...]
    options: dict[str, bool]


_KINDS: Final[dict[str, type[Closure | SpecialHours]]] = {"closure": Closure, "special_hours": SpecialHours}
_OPTIONS: Final = ("corrections", "extended_hours")


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
    found: list[Override] = []
    for kind, tables in content.items():
        if kind not in _KINDS or not isinstance(tables, list):
            known = ", ".join(("calendar", *_OPTIONS, *(f"[[{each}]]" for each in _KINDS)))
            raise OverrideRefused(None, f"{path}: {shown(kind)} is not understood; there can be {known}")
        found += [_from_table(path, kind, table) for table in cast("list[object]", tables)]
    return OverridesFile(calendar, tuple(found), options)


def _from_table(path: str | os.PathLike[str], kind: str, table: object) -> Override:
    factory = _KINDS[kind]
    known = factory.__struct_fields__
    fields: dict[str, Any] = cast("dict[str, Any]", table) if isinstance(table, dict) else {}
    if "date" not in fields or not set(fields) <= set(known):
        raise OverrideRefused(None, f"{path}: [[{kind}]] {shown(table)} needs `date`, and can have {', '.join(known)}")
    if not isinstance(fields.get("reason", ""), str):
        raise OverrideRefused(None, f"{path}: [[{kind}]] {shown(table)}: `reason` must be a text")
    try:
        return factory(**fields)
    except (TypeError, ValueError, OverflowError) as error:
        raise OverrideRefused(None, f"{path}: [[{kind}]] {shown(table)}: {error}") from error
