"""The mutants fit the package as it stands, and, at length, the tests kill each of them."""

import ast

import pytest

from tests.labs.mutants.catalogue import MUTANTS
from tests.labs.mutants.mutant import Mutant
from tests.labs.mutants.operators import (
    DoesNotApply,
    Operator,
    argument,
    assigned,
    call_becomes,
    compare,
    drop_assignment,
    drop_call,
    drop_filter,
    drop_if,
    drop_operand,
    drop_raise,
    function_in,
    insert_before,
    insert_first,
    insert_in_if,
    never,
    operand,
    read_as,
    returns,
)
from tests.labs.mutants.trials import ROOT, SOURCE, trials


def test_no_mutant_is_there_twice():
    assert len({str(mutant) for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_mutant_fits_the_package(mutant: Mutant):
    """Its operators apply as declared, something comes of it that Python can read, and its tests are there."""
    changed = mutant.applied((SOURCE / mutant.file).read_text(encoding="utf-8"))
    compile(changed, mutant.file, "exec")
    assert mutant.targets
    for target in mutant.targets:
        file, _, name = target.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_mutant_is_killed():
    """A mutant that survives breaks a promise that no test holds."""
    assert [str(outcome) for outcome in trials(MUTANTS, jobs=2) if not outcome.killed] == []


# ---- the operators ----


@pytest.mark.parametrize(
    ("operator", "before", "after"),
    [
        (drop_call("sync"), "a.sync(fd)", "pass"),
        (drop_call("sync"), "x = 1; await a.sync()", "x = 1"),
        (drop_call("sync", nth=2), "sync(1); sync(2)", "sync(1)"),
        (drop_assignment("b"), "a.b = c", "pass"),
        (drop_assignment("b"), "a.b = a.c = d", "a.c = d"),
        (drop_raise("Error"), "raise Error(1) from x", "pass"),
        (drop_if("a b"), "if c.a > b: d()", "pass"),
        (insert_in_if("a", "x = 1"), "if a: b()", "if a: x = 1; b()"),
        (insert_before("b", "x()"), "if a: b()", "if a: x(); b()"),
        (insert_first("x()"), "b()", "x(); b()"),
        (insert_first("x()"), "'What it does.'; b()", "'What it does.'; x(); b()"),
        (never("a"), "while a(): b()", "while a() and False: b()"),
        (never("a"), "x = b if a else c", "x = b if a and False else c"),
        (drop_filter("c"), "x = [b for b in a if b if c]", "x = [b for b in a if b]"),
        (drop_operand("b"), "x = a and b() and c", "x = a and c"),
        (operand("b", "{} + 1"), "x = a and b", "x = a and b + 1"),
        (compare("b", "<", "<="), "x = a < b < c", "x = a <= b <= c"),
        (returns("a", "not {}"), "return a", "return not a"),
        (returns("True", "False"), "return True", "return False"),
        (assigned("b", "-{}"), "a.b = c", "a.b = -c"),
        (read_as("b", "{} - 1"), "b = a.b", "b = a.b - 1"),
        (call_becomes("b", "{}[:1]"), "x = a.b(1)", "x = a.b(1)[:1]"),
        (argument("b", 1, None), "b(1, 2, c=3)", "b(1, c=3)"),
        (argument("b", "c", "{} + 1"), "b(1, 2, c=3)", "b(1, 2, c=3 + 1)"),
        (argument("b", 0, "4", about="c"), "b(1); b(2, c=3)", "b(1); b(4, c=3)"),
    ],
    ids=str,
)
def test_an_operator_makes_its_change(operator: Operator, before: str, after: str):
    """And no other: what is not about its words stays."""
    function = function_of(before)
    operator.apply(function)
    assert ast.unparse(ast.fix_missing_locations(function)) == ast.unparse(function_of(after))


@pytest.mark.parametrize("operator", [drop_call("x"), drop_call("sync"), drop_call("sync", nth=3)], ids=str)
def test_an_operator_that_finds_no_place_or_several_is_refused(operator: Operator):
    with pytest.raises(DoesNotApply, match=r"finds [02] places"):
        operator.apply(function_of("sync(1); sync(2)"))


def test_an_nth_of_one_place_is_refused():
    """Where there is one place only, it is named without a number: a second that came would go unnoticed."""
    with pytest.raises(DoesNotApply, match="finds 1 places"):
        drop_call("sync", nth=1).apply(function_of("sync(1)"))


def function_of(body: str) -> ast.AST:
    return function_in(ast.parse(f"async def f():\n    {body}"), "f")
