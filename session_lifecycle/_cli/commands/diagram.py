"""`diagram`: print the state machine as text that a document can include."""

import sys

from session_lifecycle._core.machine import SessionMachine


def diagram() -> None:
    """Print the state machine as Mermaid text."""
    sys.stdout.write(SessionMachine.mermaid())
