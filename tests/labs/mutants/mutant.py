"""One mutant: a change to one function of the package, and the tests that must notice it."""

import ast
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from textwrap import indent

from tests.labs.mutants.operators import DoesNotApply, Operator, function_in


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change to one function of the package, by operators that are applied one after the other.

    `breaks` says which promise is broken by that; `targets` are the tests, the fastest first, one of which must fail.
    """

    file: str
    function: str
    operators: tuple[Operator, ...]
    breaks: str
    targets: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}::{self.function} {' + '.join(map(str, self.operators))}"

    def applied(self, source: str) -> str:
        """Return the file's source with the change.

        Raises:
            DoesNotApply: the function is not there, or an operator does not fit it exactly.
        """
        original = function_in(_parsed(source), self.function)
        function = deepcopy(original)
        for operator in self.operators:
            before = ast.dump(function)
            operator.apply(function)
            if ast.dump(function) == before:
                msg = f"{operator} changes nothing"
                raise DoesNotApply(msg)
        new = indent(ast.unparse(ast.fix_missing_locations(function)), " " * original.col_offset)
        first = min(node.lineno for node in (original, *original.decorator_list))
        lines = source.splitlines()
        return "\n".join([*lines[: first - 1], new, *lines[original.end_lineno :]]) + "\n"


@cache
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)
