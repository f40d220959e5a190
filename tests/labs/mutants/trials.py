"""Trying mutants: each is made in a copy of the project, where its tests run; the first that fails has killed it."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

import session_lifecycle
from tests.labs.mutants.mutant import Mutant
from tests.labs.mutants.operators import DoesNotApply

ROOT = Path(__file__).parents[3]
PACKAGE = session_lifecycle.__name__
SOURCE = Path(session_lifecycle.__file__).parent
"""The package that is under test, be that the source or an installed wheel."""
COPIED = (SOURCE, *(ROOT / name for name in ("tests", "examples", "pyproject.toml", "README.md")))
LONGEST = 20
"""How many seconds a mutant's tests may take, some times what they do; the promise is broken too where they hang."""
SETTINGS_OF_OTHERS = ("PYTEST_", "COV_", "COVERAGE_")
"""Variables of a test run around this one: they would change the runs inside it."""

_PARSING = Lock()
"""Held while a file is parsed: in Python 3.11 two threads that do so at once can raise SystemError."""


class Unusable(Exception):
    """The copy says nothing about a mutant: its tests fail without one, or Python does not import it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mutant: `killer` is the first test that failed, `trouble` why the trial says nothing."""

    mutant: Mutant
    seconds: float
    killer: str | None = None
    trouble: str | None = None

    @property
    def killed(self) -> bool:
        """Whether a test has failed."""
        return self.killer is not None

    def __str__(self) -> str:
        verdict = (
            f"killed by {self.killer}" if self.killed else f"BROKEN: {self.trouble}" if self.trouble else "SURVIVED"
        )
        return f"{self.mutant}\n    {self.seconds:.1f} s  {verdict}"


def trials(mutants: Iterable[Mutant], jobs: int = 1) -> Iterator[Outcome]:
    """Try mutants, and yield what became of each, once the same tests have passed without any.

    Raises:
        Unusable: they have not.
    """
    mutants = list(mutants)
    check_baseline(mutants)
    pool = ThreadPoolExecutor(jobs)
    try:
        yield from pool.map(trial, mutants)
    finally:
        pool.shutdown(cancel_futures=True)


def check_baseline(mutants: Iterable[Mutant]) -> None:
    """Raise `Unusable` unless the targets of all mutants pass in a copy that is not changed, and test the copy."""
    targets = dict.fromkeys(target for mutant in mutants for target in mutant.targets)
    with TemporaryDirectory() as folder:
        root = copied(Path(folder))
        where = ["-c", f"import {PACKAGE}; print({PACKAGE}.__file__)"]
        imported = Path(python(root, *where, timeout=LONGEST).stdout.strip())
        if not imported.is_relative_to(root):
            msg = f"the copy in {root} is not what is imported, but {imported}"
            raise Unusable(msg)
        run = pytest_run(root, targets, timeout=None)
    if run.returncode != 0:
        msg = f"without any mutant the tests end with status {run.returncode}:\n{run.stdout[-4000:]}"
        raise Unusable(msg)


def trial(mutant: Mutant) -> Outcome:
    """Run a mutant's tests against it."""
    begun = time.perf_counter()
    killer = trouble = None
    with TemporaryDirectory() as folder:
        root = copied(Path(folder))
        file = root / PACKAGE / mutant.file
        try:
            with _PARSING:
                changed = mutant.applied(file.read_text(encoding="utf-8"))
            file.write_text(changed, encoding="utf-8")
            Path(cache_from_source(file)).unlink(missing_ok=True)
            run = pytest_run(root, mutant.targets, timeout=LONGEST)
        except subprocess.TimeoutExpired:
            killer = f"a hang: timed out after {LONGEST} s"
        except (DoesNotApply, FileNotFoundError) as error:
            trouble = str(error)
        else:
            failed = re.search(r"^FAILED (?:tests/)?(.+?)(?: - |$)", run.stdout, re.MULTILINE)
            if run.returncode == 1 and failed is not None:
                killer = failed[1]
            elif run.returncode != 0:
                trouble = f"pytest ended with status {run.returncode}:\n{run.stdout[-2000:]}"
    return Outcome(mutant, time.perf_counter() - begun, killer, trouble)


def copied(folder: Path) -> Path:
    """Copy what the tests need into a folder, and return it. What is compiled already is not compiled in each copy."""
    for source in COPIED:
        if source.is_dir():
            shutil.copytree(source, folder / source.name)
        else:
            shutil.copy(source, folder / source.name)
    return folder.resolve()


def pytest_run(root: Path, targets: Iterable[str], *, timeout: float | None) -> subprocess.CompletedProcess[str]:
    """Run tests of a copy up to the first that fails. pytest clears up after others where they share a folder."""
    own = ["-x", "-q", "-n0", "-p", "no:cacheprovider", f"--basetemp={root / 'basetemp'}"]
    return python(root, "-m", "pytest", *own, *targets, timeout=timeout)


def python(root: Path, *arguments: str, timeout: float | None) -> subprocess.CompletedProcess[str]:
    """Run Python in a copy, whose package is the one that it imports."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(SETTINGS_OF_OTHERS)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=environment | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )
