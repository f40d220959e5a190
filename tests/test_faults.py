"""The table of faults and the tests that name its rows are held against each other."""

import ast
import re
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
PATTERN = re.compile(r"test_faults?((?:_\d\d)+)_[a-z]\w*")
TABLE_OF_FAULTS = TESTS / "faults.md"
WAYS = {"table", "simulated", "random", "killed", "real", "calendars"}


def rows() -> list[list[str]]:
    """Return the cells of the table's rows."""
    lines = [line for line in TABLE_OF_FAULTS.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def bodies(tree: ast.Module) -> list[list[ast.stmt]]:
    """Return the body of a module, and those of the classes in it."""
    return [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]


@cache
def functions() -> list[tuple[str, str]]:
    """Return file and name of the test functions that pytest would find, of files in which a fault is named."""
    texts = {file: file.read_text(encoding="utf-8") for file in sorted(TESTS.rglob("test_*.py"))}
    return [
        (file.name, node.name)
        for file, text in texts.items()
        if "def test_fault" in text
        for body in bodies(ast.parse(text))
        for node in body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")
    ]


def named() -> dict[int, list[str]]:
    """Return the tests of each number that is named by one; a test may name several."""
    found: dict[int, list[str]] = {}
    for file, name in functions():
        match = PATTERN.fullmatch(name)
        if match is not None:
            for number in match[1].split("_")[1:]:
                found.setdefault(int(number), []).append(f"{file}::{name}")
    return found


def test_the_table_numbers_its_rows_and_fills_every_cell():
    """Fault, requirement and way of testing, for each of them."""
    table = rows()
    assert [row[0] for row in table] == [str(number) for number in range(1, 78)]
    assert all(len(row) == 4 and all(row) for row in table)
    assert {row[3] for row in table} == WAYS


def test_every_fault_has_a_test():
    """A row without one is a promise that nobody keeps."""
    assert sorted({int(row[0]) for row in rows()} - named().keys()) == []


def test_no_test_names_a_fault_that_is_not_in_the_table():
    """A number that was mistyped would leave its row untested."""
    numbers = {int(row[0]) for row in rows()}
    assert {number: names for number, names in named().items() if number not in numbers} == {}


def test_every_test_that_is_named_after_a_fault_names_it_so_that_it_is_found():
    """Two digits each: `test_fault_7_…` would count for nothing."""
    assert [
        name for _, name in functions() if re.match(r"test_faults?_?\d", name) and not PATTERN.fullmatch(name)
    ] == []
