"""The tables of docs/protocol.md, for tests that compare something with what it says."""

import re
from pathlib import Path

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text()

Table = tuple[str, list[str], list[list[str]]]


def tables(text: str) -> list[Table]:
    """Return each table: the heading above it, its columns, its rows without backticks."""
    found: list[Table] = []
    heading = ""
    for block in re.split(r"\n\n+", text):
        if block.startswith("#"):
            heading = block.lstrip("# ")
        elif block.startswith("|"):
            lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()]
            cells = [[cell.strip().strip("`") for cell in line] for line in lines]
            found.append((heading, cells[0], cells[2:]))
    return found


def rows(text: str, *columns: str) -> list[tuple[str, list[str]]]:
    """Return (heading, cells) of every row of the tables whose columns start like this."""
    found = [
        (heading, cells)
        for heading, header, lines in tables(text)
        if tuple(header[: len(columns)]) == columns
        for cells in lines
    ]
    assert found, f"the document has no table of {columns}"
    return found
