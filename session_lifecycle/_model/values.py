"""Frozen, slotted dataclasses that cost little to declare and little to make.

`dataclass(frozen=True, slots=True)` compiles six methods for each class, which was half of what importing this package
took, beside what it imports. Here one code serves all classes, but for `__init__`, which is compiled when a class is
first called: a process makes few of the values that the package declares, and those few by the thousand.
"""

import sys
from dataclasses import MISSING, FrozenInstanceError, dataclass, fields
from functools import update_wrapper
from operator import attrgetter
from reprlib import recursive_repr
from typing import Any, TypeVar, cast, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True)
def value(cls: type[_T]) -> type[_T]:
    """Make of a class what `dataclass(frozen=True, slots=True)` would. A default is a plain value, not a `field()`."""
    made: Any = dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    made._content = attrgetter(*made.__match_args__)  # noqa: SLF001 -- for the methods below
    made.__init__ = _Init(made)
    made.__repr__ = _REPR
    for name in _METHODS:
        setattr(made, name, vars(_Value)[name])
    # It has these now, and a frozen dataclass can only be derived from what says so.
    for name in ("init", "repr", "eq", "frozen"):
        setattr(made.__dataclass_params__, name, True)
    return cast("type[_T]", made)


class _Init:
    """Stands for an `__init__` until somebody looks it up."""

    def __init__(self, cls: Any) -> None:  # noqa: ANN401 -- a class with the attributes of a dataclass
        self._cls = cls

    def __get__(self, instance: object, owner: type) -> Any:  # noqa: ANN401 -- a function, bound or not
        init = self._cls.__init__ = _compiled(self._cls)
        return init.__get__(instance, owner)


def _compiled(cls: Any) -> Any:  # noqa: ANN401 -- likewise
    """Return the `__init__`: it puts each argument into its slot, past the `__setattr__` that refuses."""
    own = fields(cls)
    names = [field.name for field in own]
    lines = [f"  put_{name}(self, {name})\n" for name in names]
    if hasattr(cls, "__post_init__"):
        lines.append("  self.__post_init__()\n")
    source = (
        f"def made({', '.join(f'put_{name}' for name in names)}):\n"
        f" def __init__(self, {', '.join(names)}):\n{''.join(lines)} return __init__"
    )
    found: dict[str, Any] = {}
    exec(source, vars(sys.modules[cls.__module__]), found)  # noqa: S102 -- made of the class's own names
    init = found["made"](*(getattr(cls, name).__set__ for name in names))
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__defaults__ = tuple(field.default for field in own if field.default is not MISSING)
    init.__annotations__ = {field.name: field.type for field in own} | {"return": None}
    return init


def _repr(self: Any) -> str:  # noqa: ANN401 -- likewise
    told = (f"{name}={getattr(self, name)!r}" for name in self.__dataclass_fields__)
    return f"{type(self).__qualname__}({', '.join(told)})"


def _refuses(self: object, name: str) -> bool:
    """Whether an attribute cannot be changed: any of a value; of what derives from one, the fields."""
    kind: Any = type(self)
    return "_content" in vars(kind) or name in kind.__dataclass_fields__


class _Value:
    """The other methods of every value."""

    __dataclass_fields__: dict[str, Any]
    _content: Any

    def __eq__(self, other: object) -> bool:
        # Like what `dataclass` makes, this comes from no file (see below), so coverage does not see it run.
        return (
            self._content(self) == self._content(other) if type(other) is type(self) else NotImplemented
        )  # pragma: no cover

    def __hash__(self) -> int:
        return hash(self._content(self))

    def __setattr__(self, name: str, new: object) -> None:
        if _refuses(self, name):
            msg = f"cannot assign to field {name!r}"
            raise FrozenInstanceError(msg)
        object.__setattr__(self, name, new)

    def __delattr__(self, name: str) -> None:
        if _refuses(self, name):
            msg = f"cannot delete field {name!r}"
            raise FrozenInstanceError(msg)
        object.__delattr__(self, name)

    def __getstate__(self) -> object:
        return [getattr(self, name) for name in self.__dataclass_fields__]

    def __setstate__(self, state: list[object]) -> None:
        for name, each in zip(self.__dataclass_fields__, state, strict=True):
            object.__setattr__(self, name, each)


_METHODS = ("__eq__", "__hash__", "__setattr__", "__delattr__", "__getstate__", "__setstate__")

# pprint and pytest take a dataclass apart by its fields if these look like what `dataclass` makes.
_repr.__qualname__ = "__create_fn__.__repr__"
_REPR = update_wrapper(recursive_repr()(_repr), _repr)
_Value.__eq__.__code__ = _Value.__eq__.__code__.replace(co_filename="<string>")
