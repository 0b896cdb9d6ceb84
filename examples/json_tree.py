"""A JSON document as directories and files: ``json_tree.py DOCUMENT MOUNTPOINT``.

Objects and lists are directories, everything else is a file.  That is all there is to
say: the tree numbers the nodes, counts lookups, lists directories and reads files.
"""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import triofuse


def node_of(value: Any) -> triofuse.Child:
    """Return what a directory takes for a value."""
    if isinstance(value, list):
        value = {str(number): item for number, item in enumerate(value)}
    if isinstance(value, dict):
        return {quote(name, safe=" "): node_of(item) for name, item in value.items()}
    return value if isinstance(value, str) else json.dumps(value)


def make(document: Path) -> triofuse.Tree:
    """Show a JSON document as directories and files."""
    return triofuse.Tree(node_of(json.loads(document.read_text())))


if __name__ == "__main__":
    triofuse.main(make)
