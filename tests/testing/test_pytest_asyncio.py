"""The fixtures under the real pytest-asyncio, as the guide shows it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "examples/guide/testing.md").read_text(encoding="utf-8")
[RECIPE] = re.findall(r"```python3\n(.*?)```", GUIDE, re.DOTALL)

FAILING = """

@pytest.mark.xfail(raises=AssertionError, strict=True)
async def test_what_a_handler_asserts_fails_the_test(manager, simulated_clock):
    @manager.on(SessionState.ACTIVE)
    async def handler(event):
        assert event is None

    await simulated_clock.advance(timedelta(hours=1))


async def test_a_manager_is_entered_by_the_test(session_manager, simulated_clock):
    async with session_manager("XNYS") as manager:
        await simulated_clock.advance(timedelta(hours=9))
    assert manager.state is SessionState.NOT_STARTED
"""

IN_TURN = """
import sys
import pytest
for mode in ("strict", "auto"):
    status = pytest.main([*sys.argv[1:], f"--asyncio-mode={mode}", f"test_{mode}.py"])
    if status:
        sys.exit(f"{mode}: {status}")
"""


def test_the_recipe_of_the_guide_works(tmp_path: Path) -> None:
    """In each mode of the plugin, with warnings as errors, and an assertion in a handler fails its test."""
    pytest.importorskip("pytest_asyncio")
    for mode in ("strict", "auto"):
        (tmp_path / f"test_{mode}.py").write_text(RECIPE + FAILING, encoding="utf-8")
    options = ["-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:xdist"]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN, *options, "-o", "asyncio_default_fixture_loop_scope=function"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("3 passed, 1 xfailed") == 2
