"""`plain`: values become what `json.dumps` writes, under the names that their JSON Schema declares."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from session_lifecycle import SessionState
from session_lifecycle._model.plain import plain


class Inner(msgspec.Struct, frozen=True, tag=True):
    """A tagged Struct with a field that JSON has under another name."""

    text: str = msgspec.field(name="told")
    at: datetime | None = None


def test_a_struct_has_its_tag_and_its_fields_by_their_encoded_names() -> None:
    """As msgspec itself encodes them, and as its JSON Schema declares them."""
    value = Inner("hello")
    assert plain([value]) == [{"type": "Inner", "told": "hello", "at": None}]
    assert plain(value) == json.loads(msgspec.json.encode(value))
    assert set(msgspec.json.schema(Inner)["$defs"]["Inner"]["properties"]) == {"type", "told", "at"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2026, 11, 27, 9, 30, tzinfo=timezone(timedelta(hours=-5))), "2026-11-27T14:30:00+00:00"),
        (date(2026, 11, 27), "2026-11-27"),
        (timedelta(minutes=1, milliseconds=500), 60.5),
        (SessionState.ACTIVE, "active"),
        (ValueError("no"), {"type": "ValueError", "message": "no"}),
        ((1, {"a": (True, None)}), [1, {"a": [True, None]}]),
        (UTC, "UTC"),
        (Path("a"), "a"),
    ],
)
def test_each_kind_of_value_has_one_form(value: object, expected: object) -> None:
    """Instants in UTC, durations in seconds."""
    assert plain(value) == expected


def test_a_value_without_a_form_is_refused() -> None:
    """It is named."""
    with pytest.raises(TypeError, match=r"object object at .* has no plain JSON value"):
        plain(object())
