"""One mutant: a change to one function of the package, and the tests that must notice it."""

import ast
from dataclasses import dataclass

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
        tree = ast.parse(source)
        function = function_in(tree, self.function)
        for operator in self.operators:
            before = ast.dump(function)
            operator.apply(function)
            if ast.dump(function) == before:
                msg = f"{operator} changes nothing"
                raise DoesNotApply(msg)
        return ast.unparse(ast.fix_missing_locations(tree)) + "\n"
