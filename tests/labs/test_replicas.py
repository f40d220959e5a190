"""Replicas that fail by chance lose nothing and do nothing twice; without the fence they do."""

from pathlib import Path

import pytest

from tests.helpers.postgres import running_server
from tests.labs.replicas.lab import Lab

pytestmark = [pytest.mark.long, pytest.mark.timeout(600), pytest.mark.usefixtures("postgres_server")]


def test_replicas_that_fail_by_chance_keep_their_books(tmp_path: Path) -> None:
    with running_server() as server:
        audit = Lab(server, tmp_path, seed=7).run(rolls=150, faults=60, seconds=120)
    assert audit.complaints == []
    assert audit.rolls >= 150
    assert audit.faults.total() >= 60
    assert audit.terms > 3


def test_the_audit_can_find_a_doubled_roll(tmp_path: Path) -> None:
    """The same replicas with neither terms nor the index book sessions twice, so the counts can show it."""
    with running_server() as server:
        audit = Lab(server, tmp_path, seed=7, fenced=False).run(rolls=1, faults=100, seconds=120)
    assert audit.doubled


def test_managers_that_fail_by_chance_keep_their_books(tmp_path: Path) -> None:
    """Sessions of a few milliseconds, by the real clock: a roll is announced by one replica at most."""
    with running_server() as server:
        audit = Lab(server, tmp_path, seed=7, managers=True).run(rolls=150, faults=60, seconds=120)
    assert audit.complaints == []
    assert audit.rolls >= 150
    assert audit.terms > 3
