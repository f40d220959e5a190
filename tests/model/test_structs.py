"""Every public value is a frozen Struct that other processes, encoders and readers of annotations understand."""

import copy
import pickle
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

import session_lifecycle
from session_lifecycle import (
    AdaptiveTimeout,
    Alarm,
    Closure,
    Correction,
    Difference,
    Entry,
    Event,
    LifecycleConfig,
    Phase,
    Record,
    RetryPolicy,
    Session,
    SessionState,
    SpecialHours,
    Status,
    testing,
)
from session_lifecycle.testing.result import Refused, RollAttempt
from tests.helpers.builders import DAY, MONDAY, utc
from tests.model.test_events import EVENTS, FULL, OOPS

ROOT = Path(__file__).parents[2]  # where the tests are found, one of which has an error of its own
NOON, LATER = utc(2024, 3, 4, 12), utc(2024, 3, 4, 13)
SESSION = Session(MONDAY, NOON, LATER + DAY, ((LATER, LATER + DAY / 2),), NOON, LATER + DAY)
STATUS = Status(
    None, "XNYS", SessionState.ACTIVE, SessionState.ACTIVE, MONDAY, NOON, LATER, None, False, True, False, 0, None,
    None, NOON,
)  # fmt: skip
SAMPLES: list[Any] = [
    *EVENTS,
    *FULL,
    AdaptiveTimeout(timedelta(seconds=1), timedelta(seconds=2)),
    Alarm("open", timedelta(hours=2)),
    Closure(MONDAY, "typhoon"),
    Correction(MONDAY, MONDAY + DAY, SESSION, "https://example.org/notice"),
    Difference(MONDAY, SESSION, None),
    LifecycleConfig(stale_when=2),
    Record(Entry.INTENT, MONDAY, NOON, MONDAY + DAY, (MONDAY,), NOON, LATER, "note"),
    Phase("overnight", NOON, LATER, tradable=True, data_expected=False),
    RetryPolicy(),
    SESSION,
    SpecialHours(MONDAY, close=NOON),
    STATUS,
    Refused(NOON, "halt()", OOPS),
    RollAttempt(MONDAY, MONDAY + DAY, NOON, LATER, True, OOPS),
]
PUBLIC = {
    value
    for package in (session_lifecycle, testing)
    for name in package.__all__
    if isinstance(value := getattr(package, name), type) and issubclass(value, msgspec.Struct)
}


def ids(value: object) -> str:
    return type(value).__name__


CHILD = """
import pickle, sys, typing
import session_lifecycle._core.lifecycle, session_lifecycle._journal.sqlite, session_lifecycle._schedules.comparison
import msgspec
from session_lifecycle._model.plain import plain

content = sys.stdin.buffer.read()
values = pickle.loads(content)
for value in values:
    kind = type(value)
    hints = typing.get_type_hints(kind)
    assert set(hints) == set(kind.__match_args__), kind
    for field in msgspec.structs.fields(kind):
        assert field.type == hints[field.name] and not isinstance(field.type, str), field
    text = lambda error: {"type": type(error).__name__}
    assert isinstance(msgspec.to_builtins(value, enc_hook=text), dict)
    assert msgspec.json.decode(msgspec.json.encode(plain(value))) == plain(value)
    assert msgspec.json.encode(value, enc_hook=text)
sys.stdout.buffer.write(pickle.dumps(values))
"""


def test_every_public_struct_is_held() -> None:
    """No public Struct is left out below, and all of them are frozen."""
    assert {type(value) for value in SAMPLES} == PUBLIC
    assert all(kind.__struct_config__.frozen for kind in PUBLIC)


def test_a_fresh_process_understands_every_public_struct() -> None:
    """It imports the private modules first; it pickles and converts each value, and resolves each annotation."""
    sent = pickle.dumps(SAMPLES)
    done = subprocess.run([sys.executable, "-c", CHILD], input=sent, stdout=subprocess.PIPE, cwd=ROOT, check=True)
    assert pickle.loads(done.stdout) == SAMPLES


@pytest.mark.parametrize("value", SAMPLES, ids=ids)
def test_a_copy_is_equal(value: Any) -> None:
    """Copied by each way of copying that the interpreter has."""
    assert copy.copy(value) == value == msgspec.structs.replace(value)
    if sys.version_info >= (3, 13):
        assert copy.replace(value) == value


def test_a_value_holds_no_attribute_but_its_fields() -> None:
    """None can be set, added or deleted, and a value of another class is another one."""
    for name in ("anchor", "unheard_of"):
        with pytest.raises(AttributeError, match="immutable type: 'Alarm'"):
            setattr(Alarm("open"), name, "close")
    with pytest.raises(AttributeError):
        del Alarm("open").anchor
    assert Closure(MONDAY) != SpecialHours(MONDAY, close=NOON)
    assert not hasattr(Alarm("open"), "__dict__")


def test_the_events_are_a_tagged_union() -> None:
    """A schema can be made of all events, in which each is told apart by `event`, the name of its class."""
    schema = msgspec.json.schema(Event, schema_hook=lambda _: {"type": "object"})
    assert schema["discriminator"]["propertyName"] == "event"
    assert list(schema["discriminator"]["mapping"]) == [kind.__name__ for kind in get_args(Event)]
