"""The README and the pages of the guide, and how the tests read them: tables, headings, links, blocks of code."""

import re
from pathlib import Path
from typing import Final

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
