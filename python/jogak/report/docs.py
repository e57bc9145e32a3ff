"""The generated part of the documentation, and the check of all of it.

`python -m jogak.report.docs` writes a page for every built-in pass and their index; with `--check` it writes nothing
and fails with a list of pages that are out of date, links that lead nowhere, and runnable code that does not run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from jogak.cli.guard import guarded
from jogak.errors import EXIT_OK, EXIT_USER, JogakError
from jogak.passes import pass_files
from jogak.registry import default_registry
from jogak.report.markdown import broken_links, failing_code
from jogak.report.output import write_text
from jogak.report.pass_docs import PassDoc, read_pass_doc

PROGRAM = "python -m jogak.report.docs"
_FAMILIES = {
    "normalize": "Normalize: few fused ops whose indexing maps name every dimension",
    "sharding": "Shard: a mesh, and a sharding for every value",
    "partition": "Partition: the program of one device, with explicit collectives",
    "memory": "Fit: a schedule, recomputation and buffer offsets within a memory budget",
    "lowering": "Lower: from per-device programs to targets",
}
"""Folder of passes to its title, in the order of the compiler."""


def pages(folder: Path) -> dict[Path, str]:
    """Every generated page with its text: one for each built-in pass, and `index.md`.

    Raises:
        JogakError: a docstring does not have the form.
    """
    registry = default_registry()
    families: dict[str, list[PassDoc]] = {}
    for name, path in pass_files().items():
        families.setdefault(path.parent.name, []).append(read_pass_doc(registry.pass_class(name)))
    docs = [doc for family in families.values() for doc in family]
    return {folder / "index.md": _index(families), **{folder / f"{doc.name}.md": _page(doc) for doc in docs}}


def _index(families: dict[str, list[PassDoc]]) -> str:
    order = [*(name for name in _FAMILIES if name in families), *sorted(set(families) - set(_FAMILIES))]
    parts = [
        "# Passes",
        "Generated from docstrings by `python -m jogak.report.docs`. `jogak-opt --list-passes` has MLIR's passes too.",
    ]
    for family in order:
        rows = "\n".join(f"- [`{doc.name}`]({doc.name}.md): {doc.summary}" for doc in families[family])
        parts += [f"## {_FAMILIES.get(family, family.capitalize())}", rows]
    return "\n\n".join(parts) + "\n"


def _page(doc: PassDoc) -> str:
    options = f"{{{doc.example.options}}}" if doc.example.options else ""
    parts = [
        f"# {doc.name}",
        doc.summary,
        doc.body,
        *(f"**{name}.** {_sentence(doc.sections[name])}" for name in ("Before", "After", "Failure")),
        "## Options",
        _options(doc),
        "## Example",
        f"`jogak-opt --pass-pipeline='builtin.module({doc.name}{options})'` on",
        f"```mlir\n{doc.example.before}```",
        "gives a module with",
        "```mlir\n{}\n```".format("\n".join(doc.example.after)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _options(doc: PassDoc) -> str:
    if not doc.options:
        return "None."
    rows = [
        f"| `{each.name}` | {each.type} | {each.default or ('required' if each.default is None else 'empty')} |"
        for each in doc.options
    ]
    return "\n".join(["| option | type | default |", "|---|---|---|", *rows, "", doc.sections["Options"]])


def outdated(folder: Path) -> Iterator[str]:
    """Generated pages that are missing, differ from what would be written, or belong to no pass."""
    wanted = pages(folder)
    for path, text in wanted.items():
        if not path.is_file():
            yield f"{path}: is missing"
        elif path.read_text(encoding="utf-8") != text:
            yield f"{path}: is out of date"
    for path in sorted(folder.glob("*.md")):
        if path not in wanted:
            yield f"{path}: belongs to no pass"


def problems(root: Path) -> list[str]:
    """Everything that is wrong with the documentation of a source tree."""
    written = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    found = [*outdated(root / "docs" / "passes")]
    found += [line for page in written for line in broken_links(page)]
    return found + [line for page in written for line in failing_code(page)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(PROGRAM, description="Write the pages of the passes, or check the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when something is wrong")
    parser.add_argument("--root", type=Path, default=Path(), help="the source tree (default: this folder)")
    options = parser.parse_args(arguments)
    return guarded([PROGRAM], lambda: _run(options.root, check=options.check))


def _run(root: Path, *, check: bool) -> int:
    if not (root / "docs" / "index.md").is_file():
        raise JogakError(
            "is not the source tree of Jogak", where=str(root.resolve()), hint="run it there, or give --root"
        )
    if check:
        found = problems(root)
        print("\n".join(found) or "the documentation is up to date", file=sys.stderr if found else sys.stdout)
        return EXIT_USER if found else EXIT_OK
    folder = root / "docs" / "passes"
    folder.mkdir(exist_ok=True)
    wanted = pages(folder)
    for path, text in wanted.items():
        write_text(path, text)
    for path in set(folder.glob("*.md")) - set(wanted):
        path.unlink()
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
