"""Read files of hours that anyone may have written: time, memory and messages are bounded, whatever they hold."""

import os
from pathlib import Path
from reprlib import Repr
from typing import Any, Final

MOST_BYTES: Final = 4 * 1024 * 1024
"""The largest file that is read: a century of sessions, each with hours of its own, has half of it."""

_MOST_DOTS: Final = 100
"""How many dots a line of TOML may have. tomllib takes time by the square of the parts of a dotted key."""

_MOST_BITS: Final = 2000
"""How many bits an integer in a message may have; Python converts these to text, whatever its limit is set to."""


class _Short(Repr):
    def repr_int(self, x: int, level: int) -> str:
        # A number of thousands of digits is not converted to text: Repr raises ValueError, and from Python 3.14 on
        # shows an address in memory.
        return super().repr_int(x, level) if x.bit_length() < _MOST_BITS else "a value of the type int"


_SHORT: Final = _Short()
_SHORT.maxlevel = 2
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the content of a file in UTF-8.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, or not UTF-8.
    """
    with Path(path).open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    require_size(content)
    return content.decode("utf-8-sig")


def require_size(content: bytes) -> None:
    """Raise ValueError where a file has more than `MOST_BYTES`."""
    if len(content) > MOST_BYTES:
        msg = f"it has more than {MOST_BYTES // 1024 // 1024} MiB"
        raise ValueError(msg)


def parse_toml(text: str) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        ValueError: it is not TOML, or is nested too deeply.
    """
    import tomllib  # its import takes longer than reading a file, and JSON does not need it

    for number, line in enumerate(text.splitlines()):
        if line.count(".") > _MOST_DOTS and not line.lstrip().startswith("#"):
            msg = f"line {number + 1} has more than {_MOST_DOTS} dots"
            raise ValueError(msg)
    try:
        return tomllib.loads(text)
    except RecursionError:
        msg = "it is nested too deeply"
        raise ValueError(msg) from None


def shown(value: object) -> str:
    """Return a value for a message, shortened, and on one line."""
    return _SHORT.repr(value)
