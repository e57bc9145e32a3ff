"""Checks of Markdown pages: links lead somewhere, and code that is marked as runnable runs."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_COMMANDS = {"python run": [sys.executable], "bash run": ["bash", "-e"]}
"""Info strings of runnable fences, and what runs a file with their text."""

_LAST_LINES = 5


def broken_links(page: Path) -> Iterator[str]:
    """Every link of a page to a file or heading that does not exist; links to the web are not followed."""
    text = _CODE.sub("", _FENCE.sub("", page.read_text(encoding="utf-8")))
    for target in _LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists():
            yield f"{page}: the link to {target} leads nowhere"
        elif anchor and file.suffix == ".md" and anchor not in _anchors(file):
            yield f"{page}: {file.name} has no heading #{anchor}"


def _anchors(page: Path) -> set[str]:
    headings = _HEADING.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def failing_code(page: Path) -> Iterator[str]:
    """Every fence marked `python run` or `bash run` that fails; those of one page share a temporary folder."""
    runnable = [(info, code) for info, code in _FENCE.findall(page.read_text(encoding="utf-8")) if info in _COMMANDS]
    if not runnable:
        return
    with tempfile.TemporaryDirectory(prefix="jogak-docs-") as folder:
        for number, (info, code) in enumerate(runnable, 1):
            script = Path(folder) / f"fence_{number}"
            script.write_text(code, encoding="utf-8")
            command = [*_COMMANDS[info], script.name]
            ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if ran.returncode:
                told = "\n".join(ran.stderr.splitlines()[-_LAST_LINES:])
                yield f"{page}: runnable fence {number} ends with exit code {ran.returncode}\n{told}"
