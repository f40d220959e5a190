"""Metadata of the built package: the README without what leads nowhere outside of the repository.

A picture by a relative path is a broken one in the metadata, and so is a link to a page of the guide. Pictures and
diagrams are left out, and a relative link is its text.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


def portable(text: str) -> str:
    """Return a page in Markdown without pictures and diagrams, and without links but those with an address."""
    text = re.sub(r"(?m)^!\[[^\]]*\]\((?!https?:)[^)]*\)\n+", "", text)
    text = re.sub(r"(?ms)^```mermaid\n.*?^```\n+", "", text)
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]*\)", r"\1", text)


class ReadmeHook(MetadataHookInterface):
    """Sets the field `readme`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Read the README that lies beside this file."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": portable(text)}
