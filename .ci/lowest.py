"""Print a pip constraints file that pins every dependency of pyproject.toml to the lowest version that it allows."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
for requirement in [*project["dependencies"], *extras]:
    if requirement.startswith(f"{project['name']}["):  # an extra that is part of another
        continue
    found = re.match(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)", requirement)
    if found is None:
        raise SystemExit(f"{requirement!r} has no lowest version: write it as name>=version")
    print(f"{found[1]}=={found[2]}")
