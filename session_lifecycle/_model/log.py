"""The package's logger, `session_lifecycle`: one line of it is one line, and what fails in logging fails nothing else.

Filters and handlers belong to the application and run in the middle of a transition. An exception of one of them is
reported to stderr, as `logging` itself reports one of `Handler.emit`, and the caller goes on.
"""

import logging
import sys
import traceback
from typing import Any, Final

from session_lifecycle._model.text import one_line


class SafeLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose lines have no control characters, and whose filters and handlers may raise.

    Each kind of exception is reported to stderr once, unless `logging.raiseExceptions` is False.
    """

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logger, None)
        self._reported: set[type[Exception]] = set()

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:  # noqa: ANN401 -- those of the base
        """Log a message on one line; `debug`, `warning`, `exception` and the like come here too."""
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        self.try_log(level, msg, *args, **kwargs)

    def try_log(self, level: int, msg: object, *args: object, **kwargs: Any) -> Exception | None:  # noqa: ANN401 -- as above
        """Log a message on one line, and return the exception of a filter or handler that failed on it."""
        if not self.logger.isEnabledFor(level):
            return None
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        try:
            text = f"{msg}" % args if args else f"{msg}"
            self.logger.log(level, "%s", one_line(text), **kwargs)
        except Exception as error:  # of the application's own logging
            self._report(error)
            return error
        return None

    def _report(self, error: Exception) -> None:
        if type(error) in self._reported or not logging.raiseExceptions or not sys.stderr:
            return
        self._reported.add(type(error))
        lines = ["session_lifecycle goes on, but a filter or handler of the application's logging has failed:"]
        lines += "".join(traceback.format_exception(error)).splitlines()
        sys.stderr.write("".join(f"{one_line(line)}\n" for line in lines))


LOGGER: Final = SafeLogger(logging.getLogger("session_lifecycle"))
