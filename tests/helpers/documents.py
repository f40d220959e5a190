"""The README and the pages of the guide, and how the tests read them: tables, headings, links, blocks of code."""

import re
from itertools import zip_longest
from pathlib import Path
from typing import Final, NamedTuple

from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

ROOT: Final = Path(__file__).parents[2]
README: Final = ROOT / "README.md"
GUIDE: Final = sorted((ROOT / "examples/guide").glob("*.md"))
TEXTS: Final = {path: path.read_text(encoding="utf-8") for path in (README, *GUIDE)}
EVERYTHING: Final = "\n".join(TEXTS.values())


def page(name: str) -> str:
    """Return the text of a page of the guide."""
    return TEXTS[ROOT / f"examples/guide/{name}.md"]


def section(text: str, heading: str) -> str:
    """Return what stands under a heading of the second level."""
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def table(name: str, heading: str) -> list[list[str]]:
    """Return the rows of the first table after a heading of a page of the guide, each a list of cells."""
    return rows_after(page(name), rf"\n##+ {heading}\n")


def rows_after(text: str, pattern: str) -> list[list[str]]:
    """Return the rows of the first table after a pattern, each a list of cells."""
    rows: list[list[str]] = []
    for line in re.split(pattern, text, maxsplit=1)[1].splitlines():
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            break
    return rows[2:]


def ticked(cell: str) -> list[str]:
    """Return what stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def prose(text: str) -> str:
    """Return a text without its blocks of code, where a line may begin with a # too."""
    return re.sub(r"(?ms)^```.*?^```$", "", text)


def headings(text: str, level: str = "#+") -> list[str]:
    """Return the headings of a text, of one level or of all."""
    return re.findall(rf"^{level} (.*)$", prose(text), re.MULTILINE)


def anchor(heading: str) -> str:
    """Return what a heading is linked by."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


class Block(NamedTuple):
    """A block of code, and the output shown after it, if any. Its language is `python`, or `py` for an excerpt."""

    path: Path
    program: Example
    output: str | None

    @property
    def language(self) -> str:
        return str(self.program.region.lexemes["arguments"])


def blocks(path: Path) -> list[Block]:
    """Return a page's blocks of Python, in order, each with the block of text that follows."""
    ignored = lambda _: None  # noqa: E731 -- an evaluator
    parsers = [
        CodeBlockParser("python", PythonEvaluator()),
        *(CodeBlockParser(each, ignored) for each in ("py", "text")),
    ]
    found = list(Sybil(parsers, encoding="utf-8").parse(path))
    shown = [each.parsed if each.region.lexemes["arguments"] == "text" else None for each in found[1:]]
    return [
        Block(path, each, None if output is None else str(output))
        for each, output in zip_longest(found, shown)
        if each.region.lexemes["arguments"] != "text"
    ]


BLOCKS: Final = [block for path in TEXTS for block in blocks(path)]
PROGRAMS: Final = [block for block in BLOCKS if block.language == "python"]
EXCERPTS: Final = [block for block in BLOCKS if block.language == "py"]


def example_of(excerpt: Block) -> str:
    """Return the name of the example that is named last above an excerpt."""
    return str(re.findall(r"`examples/(\w+\.py)`", TEXTS[excerpt.path][: excerpt.program.start])[-1])


def _outputs() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for block in EXCERPTS:
        if block.output is not None:
            found.setdefault(example_of(block), []).append(block.output)
    return found


OUTPUTS: Final = _outputs()
"""What is shown of the output of examples, each a stretch of what it prints."""
