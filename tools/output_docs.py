"""Writes docs/output.md, the reference of what tapring writes for programs, from its schemas.

Run it as ``python -m tools.output_docs`` after a field was added. A test compares the page with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tapring.cli.schema import SHAPES, schema

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "output.md"
_HEAD: Final = """\
# Output for programs

Each heading below is the name of a JSON Schema (draft 2020-12), which `tapring schema NAME` prints:

```console
$ tapring schema summary > summary.schema.json
```

The schemas are made from the types that the commands write, and this page is made from the schemas.
A `?` marks fields that may be absent. Each type has one table, at the first place that needs it.
Nanoseconds since the epoch are larger than 2^53, so a reader in JavaScript needs big integers.

A later version may add fields, so ignore those that you do not know. Only the records of the
envelope have exactly the fields that are listed.
"""
_TABLE: Final = "| field | type | meaning |\n|---|---|---|\n"


def page() -> str:
    """The text of docs/output.md."""
    shown: list[dict[str, Any]] = []
    return _HEAD + "".join(f"\n## {name}\n\n{''.join(_shape(name, shown))}" for name in SHAPES)


def _shape(name: str, shown: list[dict[str, Any]]) -> Iterator[str]:
    shape = schema(name)
    yield f"{shape['title']}.\n"
    for title, part in _in_order(shape):
        if part in shown:
            continue
        shown.append(part)
        if "properties" in part:
            yield f"\n**{title}**: {part['description']}\n\n{_TABLE}"
            for field, each in part["properties"].items():
                mark = "" if field in part["required"] else "?"
                meaning = each["description"].replace("|", "\\|")
                yield f"| `{field}`{mark} | {_type(each)} | {meaning} |\n"
        else:
            yield f"\n**{title}**: {', '.join(f'`{word}`' for word in part['enum'])}\n"


def _in_order(shape: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The parts of a schema, each behind the one that first refers to it."""
    found: list[str] = []

    def look(at: Any) -> None:
        if isinstance(at, list):
            for each in at:
                look(each)
        elif isinstance(at, dict):
            name = at.get("$ref", "").rpartition("/")[2]
            if name and name not in found:
                found.append(name)
                look(shape["$defs"][name])
            for each in at.values():
                look(each)

    look({key: part for key, part in shape.items() if key != "$defs"})
    return [(name, shape["$defs"][name]) for name in found]


def _type(part: dict[str, Any]) -> str:
    if "$ref" in part:
        return str(part["$ref"].rpartition("/")[2])
    if "anyOf" in part:
        return " or ".join(map(_type, part["anyOf"]))
    if "enum" in part:
        return " or ".join(f"`{word}`" for word in part["enum"])
    if "prefixItems" in part:
        return f"array of {', '.join(map(_type, part['prefixItems']))}"
    if part.get("type") == "array":
        return f"array of {_type(part['items'])}" if part.get("items") else "empty array"
    if part.get("type") == "object" and "additionalProperties" in part:
        return f"object of {_type(part['additionalProperties'])}"
    return str(part.get("type", "any value"))


if __name__ == "__main__":
    PAGE.write_text(page())
