"""Plain JSON values: one conversion for events, records, status and the shapes of the command line."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import Enum
from os import PathLike, fspath
from typing import Any, TypeAlias, cast

import msgspec

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
"""What `json.dumps` writes as it stands."""


def plain(value: object) -> Plain:  # noqa: C901, PLR0911 -- one case for each kind of value
    """Return a value as plain JSON values.

    Instants are ISO 8601 in UTC, dates ISO 8601, durations seconds, members of an Enum their values. An exception is
    its type and message. A Struct is an object of its fields; a tagged one begins with its tag.

    Raises:
        TypeError: there is no such conversion.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value.value if isinstance(value, Enum) else value
        case datetime():
            return value.astimezone(UTC).isoformat()
        case date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Enum():
            return plain(value.value)
        case msgspec.Struct():
            return struct_as_dict(value)
        case BaseException():
            return {"type": type(value).__qualname__, "message": _message(value)}
        case list() | tuple():
            return [plain(each) for each in cast("list[object]", value)]
        case Mapping():
            return {str(key): plain(each) for key, each in cast("Mapping[object, object]", value).items()}
        case tzinfo():
            return str(value)
        case PathLike():
            return str(fspath(cast("PathLike[str]", value)))
        case _:
            msg = f"{value!r} has no plain JSON value"
            raise TypeError(msg)


def struct_as_dict(value: msgspec.Struct) -> dict[str, Plain]:
    """Return a Struct's tag, where it has one, and its fields by their encoded names, as plain JSON values."""
    config: Any = value.__struct_config__
    found: dict[str, Plain] = {} if config.tag_field is None else {config.tag_field: config.tag}
    names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
    found.update((name, plain(getattr(value, field))) for name, field in names)
    return found


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # the application's own exception
        return "(which cannot be shown)"
