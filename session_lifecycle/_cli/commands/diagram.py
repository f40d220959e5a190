"""`diagram`: the state machine, for whoever wants it in a document."""

import sys

from session_lifecycle._core.machine import SessionMachine


def diagram() -> None:
    """Print the state machine as Mermaid text."""
    sys.stdout.write(SessionMachine.mermaid())
