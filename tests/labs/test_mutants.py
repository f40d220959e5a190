"""The mutants fit the package as it stands, and, at length, the tests kill each of them."""

from pathlib import Path

import pytest

from tests.labs.mutants import MUTANTS, ROOT, SOURCE, Mutant, trials

SOURCES = {file.relative_to(SOURCE).as_posix(): file.read_text(encoding="utf-8") for file in SOURCE.rglob("*.py")}


def test_names_are_unique():
    """`--only` means one mutant by each name."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_package(mutant: Mutant):
    """What it replaces occurs exactly once, something comes of it that Python can read, and its tests are there."""
    source = SOURCES[mutant.file]
    assert source.count(mutant.old) == 1
    changed = mutant.applied(source)
    assert changed != source
    compile(changed, mutant.file, "exec")
    assert mutant.targets
    for target in mutant.targets:
        file, _, name = target.partition("::")
        assert f"def {name}(" in (ROOT / Path(file)).read_text(encoding="utf-8")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_mutant_is_killed():
    """A mutant that survives breaks a promise that no test holds."""
    assert [str(outcome) for outcome in trials(MUTANTS) if not outcome.killed] == []
