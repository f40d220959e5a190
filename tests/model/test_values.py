"""Values: frozen, slotted dataclasses in every respect but their price."""

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, asdict, astuple, dataclass, fields, is_dataclass, replace
from datetime import date
from pprint import pformat
from typing import Any, get_args, get_type_hints

import pytest

from session_lifecycle import (
    AdaptiveTimeout,
    Alarm,
    Closure,
    Correction,
    Difference,
    Event,
    LifecycleConfig,
    Record,
    RetryPolicy,
    Session,
    SpecialHours,
    Status,
)
from session_lifecycle._model.values import value

OURS = (
    *get_args(Event), AdaptiveTimeout, Alarm, Closure, Correction, Difference, LifecycleConfig, Record, RetryPolicy,
    Session, SpecialHours, Status,
)  # fmt: skip


class Doubled:
    """What a value may derive from."""

    __slots__ = ()
    number: int

    @property
    def doubled(self) -> int:
        return 2 * self.number


@value
class Ours(Doubled):
    """Our own."""

    number: int
    day: date
    parent: "Ours | None" = None
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.number < 0:
            msg = "below zero"
            raise ValueError(msg)
        object.__setattr__(self, "words", tuple(self.words))


@dataclass(frozen=True, slots=True)
class Like(Doubled):
    """The standard library's, with a name as long."""

    number: int
    day: date
    parent: "Like | None" = None
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.number < 0:
            msg = "below zero"
            raise ValueError(msg)
        object.__setattr__(self, "words", tuple(self.words))


@dataclass(frozen=True, slots=True)
class Derived(Ours):
    """A frozen dataclass of somebody else's, on top of one of ours."""

    extra: str = ""


class Plain(Ours):
    """A class of somebody else's that is no dataclass."""


@value
class One:
    """With a single field."""

    number: int


DAY = date(2024, 11, 29)


def both(function: Any) -> tuple[Any, Any]:
    """Return what a function makes of either class, told apart by nothing but its name."""
    results: list[Any] = []
    for kind in (Ours, Like):
        try:
            result = function(kind)
        except Exception as error:  # noqa: BLE001 -- what is raised is compared, whatever it is
            result = (type(error), str(error))
        results.append(repr(result).replace(kind.__qualname__, "It"))
    return tuple(results)


@pytest.mark.parametrize(
    "function",
    [
        lambda it: it(1, DAY),
        lambda it: it(1, day=DAY, words=["a", "b"]),
        lambda it: it(1, DAY, it(2, DAY), ("a",)),
        lambda it: it(),
        lambda it: it(1, DAY, number=2),
        lambda it: it(1, DAY, None, (), 5),
        lambda it: it(1, DAY, other=5),
        lambda it: it(-1, DAY),
        lambda it: it(4, DAY).doubled,
        lambda it: it.__match_args__,
        lambda it: it.__slots__,
        lambda it: it.__dataclass_params__,
        lambda it: it.__name__ + it.__module__ + it.__init__.__qualname__,
        lambda it: it.__init__.__module__,
        inspect.signature,
        lambda it: get_type_hints(it.__init__),
        lambda it: [(field.name, field.type, field.default) for field in fields(it)],
        lambda it: asdict(it(1, DAY, it(2, DAY))),
        lambda it: astuple(it(1, DAY)),
        lambda it: replace(it(1, DAY), number=3),
        lambda it: replace(it(1, DAY), number=-3),
        lambda it: replace(it(1, DAY), other=3),
        lambda it: it(1, DAY) == it(1, DAY),
        lambda it: it(1, DAY) == it(2, DAY),
        lambda it: it(1, DAY) == (1, DAY, None, ()),
        lambda it: it(1, DAY).__eq__(5),
        lambda it: it(1, DAY) != it(1, DAY),
        lambda it: hash(it(1, DAY)) == hash(it(1, DAY)),
        lambda it: hash(it(1, DAY)) == hash(it(2, DAY)),
        lambda it: hash(it([], DAY)),
        lambda it: it(1, DAY) < it(2, DAY),
        lambda it: setattr(it(1, DAY), "number", 2),
        lambda it: delattr(it(1, DAY), "number"),
        lambda it: it(1, DAY).__dict__,
        lambda it: pickle.loads(pickle.dumps(it(1, DAY, it(2, DAY), ("a",)))),
        lambda it: [pickle.loads(pickle.dumps(it(1, DAY), n)) for n in range(pickle.HIGHEST_PROTOCOL + 1)],
        lambda it: copy.copy(it(1, DAY)),
        lambda it: copy.deepcopy(it(1, DAY, it(2, DAY))),
        lambda it: pformat(it(1, DAY, it(2, DAY), ("x" * 60, "y" * 60))),
    ],
)  # fmt: skip
def test_a_value_is_what_the_standard_library_would_have_made(function: Any) -> None:
    """Whatever is done with a value gives what it would give with the standard library's frozen, slotted dataclass."""
    ours, expected = both(function)
    assert ours == expected


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_everything_frozen_that_is_offered_is_a_value(kind: Any) -> None:
    """Every event, setting and fact is a frozen dataclass with slots for its fields, and shows its real signature."""
    assert is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    names = tuple(field.name for field in fields(kind))
    assert names == kind.__slots__ == kind.__match_args__ == tuple(inspect.signature(kind).parameters)
    assert not hasattr(kind, "__dict__") or "__dict__" not in vars(kind)
    assert set(get_type_hints(kind.__init__)) == {*names, "return"}


def test_nothing_can_be_added_to_a_value() -> None:
    """What is no field of a value can be neither set nor deleted, and the message names it."""
    it = Ours(1, DAY)  # the standard library's raises TypeError in some versions
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'other'"):
        it.other = 1
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'doubled'"):
        it.doubled = 1
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'other'"):
        del it.other
    assert it == Ours(1, DAY)


def test_a_value_matches_by_position() -> None:
    """Patterns take a value apart by the order of its fields."""
    match Ours(1, DAY, words=("a",)):
        case Ours(number, day, None, (word,)):
            assert (number, day, word) == (1, DAY, "a")
        case _:
            pytest.fail("it did not match")


def test_values_of_two_classes_are_never_equal() -> None:
    """Equality is by type and fields: a derived value with the same fields is another one."""
    assert Ours(1, DAY) != Plain(1, DAY)
    assert Plain(1, DAY) == Plain(1, DAY)
    assert hash(Plain(1, DAY)) == hash(Ours(1, DAY))
    assert One(1) == One(1) != One(2)
    assert hash(One(1)) == hash(One(1))


def test_a_frozen_dataclass_can_be_derived() -> None:
    """A frozen dataclass on top of a value has the fields of both, and everything that a dataclass has."""
    it = Derived(1, DAY, extra="more")
    assert repr(it) == "Derived(number=1, day=datetime.date(2024, 11, 29), parent=None, words=(), extra='more')"
    assert it == replace(it) == copy.copy(it) == pickle.loads(pickle.dumps(it)) != replace(it, extra="")
    for name in ("number", "extra"):
        with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
            setattr(it, name, 2)


def test_a_class_that_is_no_dataclass_can_be_derived() -> None:
    """A plain class on top of a value may keep attributes of its own; the fields stay frozen."""
    it = Plain(1, DAY)
    it.own = 5
    assert it.own == 5
    del it.own
    assert not hasattr(it, "own")
    with pytest.raises(FrozenInstanceError):
        it.number = 2
    with pytest.raises(FrozenInstanceError):
        del it.number
    assert repr(it) == "Plain(number=1, day=datetime.date(2024, 11, 29), parent=None, words=())"


def test_a_value_that_holds_itself_can_be_shown() -> None:
    """A value that is reached again from within itself is shown as dots, as dataclasses do."""
    error = ValueError()
    it = One(error)  # type: ignore[arg-type]  # anything that can come to hold the value
    error.args = (it,)
    assert repr(it) == "One(number=ValueError(...))"


def test_pytest_explains_two_values_by_their_fields() -> None:
    """Where two values are asserted to be equal, the failure names the field in which they differ."""
    with pytest.raises(AssertionError, match=r"Differing attributes:\s+\['number'\]"):
        assert Ours(1, DAY) == Ours(2, DAY)
