"""The real clock under the real freezegun, which freezes the monotonic clock too."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FROZEN = """
import asyncio, os, subprocess
from datetime import UTC, datetime, timedelta
from itertools import product
from freezegun import freeze_time
from session_lifecycle import LifecycleConfig, SessionBoundaryManager, SessionState
from tests.helpers.builders import utc, weekdays

async def roll_session(next_date):
    pass

async def pause():
    await asyncio.get_running_loop().run_in_executor(None, subprocess.run, ["sleep", "0.15"])

async def main():
    config = LifecycleConfig(check_interval=timedelta(milliseconds=20))
    open_at = datetime(2024, 3, 4, 14, 30)
    earlier = (timedelta(minutes=5), timedelta(milliseconds=1), timedelta(0))
    for early, real, tick in product(earlier, (False, True), (False, True)):
        with freeze_time(open_at - early, real_asyncio=real, tick=tick) as frozen:
            began = os.times()
            async with SessionBoundaryManager(weekdays(), roll_session, config=config) as manager:
                await pause()
                frozen.tick(early + timedelta(minutes=1))
                await pause()
                assert manager.state is SessionState.ACTIVE, (early, real, tick, manager.state)
            ended = os.times()
        busy = ended.user + ended.system - began.user - began.system
        assert busy < 0.18, (early, real, tick, busy)
    print("done")

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it waits in `sleep`")
def test_fault_52_a_frozen_clock_is_no_spin() -> None:
    """A manager sleeps while the clocks stand still, a millisecond before a boundary too, and takes it on a tick."""
    pytest.importorskip("freezegun")
    done = subprocess.run(
        [sys.executable, "-c", FROZEN], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
