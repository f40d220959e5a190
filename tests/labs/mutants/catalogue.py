"""The list of mutants. Where a function moves or is renamed, its file and name here follow: nothing else does."""

from tests.labs.mutants import of_the_core, of_the_journal, of_the_ledger, of_the_rest, of_the_runtime
from tests.labs.mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *of_the_journal.MUTANTS,
    *of_the_ledger.MUTANTS,
    *of_the_core.MUTANTS,
    *of_the_runtime.MUTANTS,
    *of_the_rest.MUTANTS,
)
