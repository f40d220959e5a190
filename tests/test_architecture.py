"""What ARCHITECTURE.md says of the package's files is so."""

import re
import tomllib
from pathlib import Path

import session_lifecycle

ROOT = Path(__file__).parents[1]
PACKAGE = Path(session_lifecycle.__file__).parent
TEXT = (PACKAGE / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_every_file_that_it_names_is_there():
    """A reader is led to a file, and never to one that has moved."""
    named = set(re.findall(r"`((?:[\w]+/)*\w+\.py)`", TEXT))
    named = {name for name in named if "NAME" not in name}  # stands for a new one
    assert len(named) > 30
    files = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    # In a list of several, a name may stand without the folder of the one before it.
    assert {name for name in named if not any(file == name or file.endswith(f"/{name}") for file in files)} == set()


def test_the_layers_are_those_of_the_import_contract():
    """The table has the layers in their order, with the packages that the contract gives to each."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = (contract["layers"] for contract in contracts if contract["name"] == "Imports point down the layers")
    rows = re.split(r"\n\| layer, top first .*\n.*\n", TEXT)[1].split("\n\n")[0].splitlines()
    packages = [re.findall(r"`(\w+)`", row.split("|")[1]) for row in rows]
    assert [[name for name in names if name != "__init__"] for names in packages] == [
        row.split(" | ") for row in layers
    ]


def test_no_module_has_a_second_idea():
    """Every module is at most 500 lines long, but the manager's, two fifths of which are the public documentation."""
    long = {path.name for path in PACKAGE.rglob("*.py") if len(path.read_text(encoding="utf-8").splitlines()) > 500}
    assert long <= {"manager.py"}


def test_no_file_of_the_tests_is_too_long_to_read():
    """What belongs to one promise is in one file of at most 800 lines."""
    files = (ROOT / "tests").rglob("*.py")
    assert [path.name for path in files if len(path.read_text(encoding="utf-8").splitlines()) > 800] == []
