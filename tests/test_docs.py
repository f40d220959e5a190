"""The README and the guide hold: their programs and commands print what is shown, and every link leads somewhere."""

import ast
import importlib
import logging
import re
import shlex
import sys
import textwrap
import tomllib
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

import session_lifecycle
from tests.helpers.builders import utc
from tests.helpers.command_line import PROGRAM, printed
from tests.helpers.documents import (
    BLOCKS,
    EVERYTHING,
    EXCERPTS,
    GUIDE,
    OUTPUTS,
    PROGRAMS,
    README,
    ROOT,
    TEXTS,
    Block,
    anchor,
    example_of,
    headings,
    prose,
    section,
)
from tests.test_examples import run_here

RUN = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/python examples/trading_day.py"
TEST = "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest"
PACKAGE = Path(session_lifecycle.__file__).parent
LONGEST_README = 320
LONGEST_PROGRAM = 30
"""A longer program is a file in `examples/`, and shown in excerpts."""
NOT_ON_WINDOWS = {"service.py", "roll_in_transaction.py"}


def place(block: Block) -> str:
    """Return where a block stands, as the id of its test."""
    return f"{block.path.stem} line {block.program.line}"


@pytest.fixture
def logger_as_it_was() -> Generator[None]:
    """Undo what a program does to the library's logger."""
    logger = logging.getLogger("session_lifecycle")
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.mark.usefixtures("logger_as_it_was")
@pytest.mark.parametrize("block", PROGRAMS, ids=place)
def test_each_program_is_complete_and_prints_what_is_shown(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    """A reader may paste any one block into a file and run it."""
    program = block.program
    program.namespace.clear()
    program.namespace["__name__"] = "__main__"
    program.evaluate()
    printed = capsys.readouterr()
    assert printed.out == (block.output or "")
    assert printed.err == ""


def without_blank_lines(text: str) -> str:
    """Return a text without its blank lines, which a formatter sets by what surrounds them."""
    return re.sub(r"\n\s*\n", "\n", text)


@pytest.mark.parametrize("block", EXCERPTS, ids=place)
def test_each_excerpt_is_in_the_example_named_above_it(block: Block) -> None:
    """Whole lines of the file but for indentation and blank lines."""
    name = example_of(block)
    text = without_blank_lines((ROOT / "examples" / name).read_text(encoding="utf-8"))
    shown = without_blank_lines(str(block.program.parsed))
    assert any(f"\n{textwrap.indent(shown, ' ' * indent)}" in text for indent in (0, 4, 8)), name


@pytest.mark.parametrize("name", sorted(OUTPUTS.keys() - {"crash_and_restart.py"}))
def test_each_output_of_an_example_is_a_stretch_of_what_it_prints(name: str) -> None:
    """That of crash_and_restart.py, which starts processes of its own, is held where that is run."""
    if name in NOT_ON_WINDOWS and sys.platform == "win32":
        pytest.skip("it does not run there")
    result = run_here(name)
    assert (result.returncode, result.stderr) == (0, "")
    for output in OUTPUTS[name]:
        assert f"\n{output}" in f"\n{result.stdout}"


def test_there_are_programs_with_output() -> None:
    """The pairing above would not notice if it found nothing; each output shown belongs to a program or an excerpt."""
    assert len(PROGRAMS) >= 20
    assert len(EXCERPTS) >= 5
    assert len(BLOCKS) == len(re.findall(r"(?m)^```py(?:thon)?$", EVERYTHING))
    assert sum(block.output is not None for block in BLOCKS) == EVERYTHING.count("\n```text\n") >= 20


@pytest.mark.parametrize("block", BLOCKS, ids=place)
def test_a_program_that_is_shown_is_short(block: Block) -> None:
    """A reader takes it in at a glance; what is longer is an example."""
    assert str(block.program.parsed).count("\n") <= LONGEST_PROGRAM


def test_the_readme_is_short() -> None:
    """What does not fit belongs to the guide."""
    assert len(TEXTS[README].splitlines()) <= LONGEST_README


@pytest.mark.parametrize("command", [RUN, TEST])
def test_the_first_screen_holds_the_two_commands_literally(command: str) -> None:
    """They are what a newcomer pastes."""
    assert command in TEXTS[README].splitlines()[:24]


CONSOLE = [
    (path, command, output)
    for path, text in TEXTS.items()
    for command, output in re.findall(r"```console\n\$ ([^\n]*)\n(.*?)```", text, re.DOTALL)
]


@pytest.mark.parametrize(
    ("path", "command", "output"), CONSOLE, ids=[f"{path.stem}: {command}" for path, command, _ in CONSOLE]
)
def test_each_command_prints_what_is_shown(path: Path, command: str, output: str) -> None:
    """On a terminal of 80 columns, at the instant that the page names."""
    assert re.search(r"(is|are) of Friday 2026-11-27 at 04:30 UTC", TEXTS[path])
    assert command.startswith(f"{PROGRAM} ")
    args = shlex.split(command.removeprefix(PROGRAM))
    assert printed(*args, now=utc(2026, 11, 27, 4, 30), width=80) == output
    assert max(map(len, output.splitlines())) <= 80


def test_every_sample_of_a_console_is_held() -> None:
    """One in the README, three in the guide."""
    assert len(CONSOLE) == EVERYTHING.count("```console") >= 4


def test_the_command_line_and_the_guide_name_each_other() -> None:
    """From either one a reader finds the other."""
    page = ROOT / "examples/guide/command-line.md"
    assert f"{page.relative_to(ROOT).as_posix()}\n" in printed("--help")
    assert f"`{PROGRAM}`" in TEXTS[page]


def drawn(picture: Path) -> tuple[list[str], Counter[str]]:
    """Return what is written in a picture, and how many shapes there are of each colour."""
    svg = picture.read_text(encoding="utf-8")
    return re.findall(r"<!-- (.*?) -->", svg), Counter(re.findall(r"fill: (#\w+)", svg))


def test_the_picture_is_what_the_command_in_the_readme_draws(tmp_path: Path) -> None:
    """The same labels, and as many bars of each colour: more would depend on matplotlib's version."""
    text = TEXTS[README]
    [(options, name)] = re.findall(r"`python -m session_lifecycle (timeline [^`]*) --output ([^`]*)`", text)
    assert f"]({name})" in "\n".join(text.splitlines()[:24])
    again = tmp_path / "again.svg"
    assert printed(*options.split(), "--output", str(again)).startswith(f"{again}: ")
    assert drawn(again) == drawn(ROOT / name)
    assert "XTKS" in drawn(again)[0]


def test_programs_import_public_names_only() -> None:
    """What a reader copies must not break with a private name."""
    for program in (
        *(str(block.program.parsed) for block in PROGRAMS),
        *map(Path.read_text, ROOT.glob("examples/*.py")),
    ):
        for node in ast.walk(ast.parse(program)):
            if isinstance(node, ast.ImportFrom) and node.module == "session_lifecycle":
                assert {alias.name for alias in node.names} <= set(session_lifecycle.__all__)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("session_lifecycle"):
                kit = importlib.import_module(node.module or "")
                assert kit.__name__.split(".")[1:] in (
                    ["otel"],
                    ["testing"],
                    ["testing", "journals"],
                    ["testing", "strategies"],
                    ["venues"],
                )
                assert {alias.name for alias in node.names} <= set(kit.__all__)


@pytest.mark.parametrize("path", GUIDE, ids=lambda path: path.stem)
def test_a_page_of_the_guide_opens_with_its_contents(path: Path) -> None:
    """Every section, in order, by its own name."""
    opening = prose(TEXTS[path]).split("\n## ", 1)[0]
    listed = re.findall(r"^- \[([^\]]+)\]\(#([^)]+)\)$", opening, re.MULTILINE)
    assert listed == [(heading, anchor(heading)) for heading in headings(TEXTS[path], "##")]


def test_the_readme_says_where_to_go_next() -> None:
    """To every page of the guide, once."""
    listed = re.findall(r"^\| \[([\w-]+)\]\(([^)]+)\) \|", section(TEXTS[README], "Where to go next"), re.MULTILINE)
    assert [f"examples/guide/{name}.md" for name, _ in listed] == [target for _, target in listed]
    assert sorted(ROOT / target for _, target in listed) == GUIDE


def test_the_guide_lists_every_example() -> None:
    """Once, in one table."""
    recipes = TEXTS[ROOT / "examples/guide/recipes.md"]
    listed = re.findall(r"^\| \[`(\w+\.py)`\]\(\.\./(\w+\.py)\) \|", section(recipes, "All examples"), re.MULTILINE)
    assert all(name == target for name, target in listed)
    assert sorted(name for name, _ in listed) == sorted(path.name for path in ROOT.glob("examples/*.py"))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_every_link_leads_to_a_file_or_a_heading(path: Path) -> None:
    """In the page itself, or in another; no two headings of a page have the same name."""
    anchors = [anchor(heading) for heading in headings(TEXTS[path])]
    assert len(set(anchors)) == len(anchors)
    links = re.findall(r"\]\((?!https?://)([^)\s]+)\)", prose(TEXTS[path]))
    assert links
    for link in links:
        name, _, fragment = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if target.is_relative_to(ROOT / PACKAGE.name):  # the package may be installed elsewhere: a wheel is tested
            target = PACKAGE / target.relative_to(ROOT / PACKAGE.name)
        assert target.exists(), link
        if fragment:
            assert fragment in [anchor(heading) for heading in headings(TEXTS[target])], link


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_every_reference_is_defined_and_used(path: Path) -> None:
    """A link by a short name has its address at the end of the passage."""
    text = prose(TEXTS[path])
    used = set(re.findall(r"\]\[([\w-]+)\]", text))
    assert used == set(re.findall(r"^\[([\w-]+)\]: https://", text, re.MULTILINE))


def test_the_changelog_opens_with_the_version_that_is_built() -> None:
    """A release stands there under its number and day; what is being worked on says which release it is to be."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heading, first, *_ = re.split(r"\n{2,}", changelog[changelog.index("\n## ") + 1 :])
    release, _, being_worked_on = project["version"].partition(".dev")
    if being_worked_on:
        assert (heading, first.startswith(f"To be {release}")) == ("## [Unreleased]", True)
    else:
        assert re.fullmatch(rf"## \[{re.escape(release)}\] - \d{{4}}-\d\d-\d\d", heading)
