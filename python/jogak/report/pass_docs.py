"""The documentation of a pass, read from its docstring.

The form: a summary line, paragraphs, the sections `Before:`, `After:`, `Options:`, `Failure:`, and `Example:` with two
fences, ` ```mlir before {options}` (a whole module) and ` ```mlir after` (lines that the result holds, in this order).
"""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import dataclass

from jogak.errors import JogakError
from jogak.ir.context import new_context, parse_module
from jogak.ir.module import print_module
from jogak.ir.options import Option, describe_options
from jogak.ir.pass_manager import run_pipeline
from jogak.plugin import Pass

SECTIONS = ("Before", "After", "Options", "Failure", "Example")
_HEADING = re.compile(rf"^({'|'.join(SECTIONS)}):[ ]?", re.MULTILINE)
_FENCE = re.compile(r"^```mlir (before|after)(?: \{([^}\n]*)\})?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    """An input of a pass and what its output holds.

    Attributes:
        options: what stands between the braces in the pipeline.
        before: a module.
        after: lines of the output, in order.
    """

    options: str
    before: str
    after: tuple[str, ...]


@dataclass(frozen=True)
class PassDoc:
    """What a docstring says.

    Attributes:
        name: the pass's name in a pipeline.
        summary: its first line.
        body: the paragraphs behind it.
        sections: name of each section to its text.
        options: the fields of the class.
        example: the example.
    """

    name: str
    summary: str
    body: str
    sections: dict[str, str]
    options: tuple[Option, ...]
    example: Example


def read_pass_doc(kind: type[Pass]) -> PassDoc:
    """Read the docstring of a pass.

    Raises:
        JogakError: a section or a fence of the example is missing.
    """
    text = inspect.getdoc(kind) or ""
    intro, *rest = _HEADING.split(text)
    sections = dict(zip(rest[::2], (textwrap.dedent(part).strip() for part in rest[1::2]), strict=True))
    missing = [section for section in SECTIONS if section not in sections]
    if missing:
        raise JogakError(
            f"the docstring lacks {missing[0]}:", where=kind.name, hint="docs/writing-a-pass.md has the form"
        )
    summary, _, body = intro.strip().partition("\n")
    example = _read_example(sections["Example"], kind.name)
    return PassDoc(kind.name, summary, body.strip(), sections, tuple(describe_options(kind)), example)


def _read_example(text: str, name: str) -> Example:
    fences = {word: (options, code) for word, options, code in _FENCE.findall(text)}
    if set(fences) != {"before", "after"}:
        hint = "give one fence ```mlir before and one ```mlir after"
        raise JogakError("the example lacks a fence", where=name, hint=hint)
    options, before = fences["before"]
    after = tuple(line.strip() for line in fences["after"][1].splitlines() if line.strip())
    return Example(options, before, after)


def run_example(name: str, example: Example) -> str | None:
    """Run the example of a pass.

    Returns:
        What is wrong: the first line of `after` that the output lacks, with the output; None when nothing is.

    Raises:
        JogakError: the example cannot be parsed, or the pass fails on it.
    """
    module = parse_module(example.before, new_context())
    options = f"{{{example.options}}}" if example.options else ""
    run_pipeline(module, f"builtin.module({name}{options})")
    output = print_module(module)
    lines = iter(output.splitlines())
    for wanted in example.after:
        if not any(wanted in line for line in lines):
            return f"the output of the example of {name} lacks, at its place: {wanted}\n{output}"
    return None
