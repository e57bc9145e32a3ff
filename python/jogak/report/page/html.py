"""Pieces of HTML: tables, cards, sections. Every text that comes from outside is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what it shows.
        value: the exact number behind a rounded text, for scripts.
        code: whether it is shown as code.
        kind: `number`, `split` (a sharding that splits something) or nothing.
    """

    text: str
    value: float | None = None
    code: bool = False
    kind: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page; `anchor` is its address."""

    anchor: str
    title: str
    body: str


def number(text: str, value: float) -> Cell:
    """A number as people read it, with the exact one behind it."""
    return Cell(text, value, kind="number")


def table(name: str, head: Sequence[str], rows: Sequence[Sequence[Cell]], best: int | None = None) -> str:
    """A table.

    Args:
        name: its address, for scripts and tests.
        head: titles of the columns.
        rows: cells.
        best: number of the row that stands out.
    """
    numeric = [bool(rows) and rows[0][at].kind == "number" for at in range(len(head))]
    titles = "".join(
        f'<th class="number">{escape(title)}</th>' if right else f"<th>{escape(title)}</th>"
        for title, right in zip(head, numeric, strict=True)
    )
    lines = [f"<tr{' class=best' if at == best else ''}>{''.join(map(_cell, row))}</tr>" for at, row in enumerate(rows)]
    return (
        f'<div class="wide"><table id="{escape(name)}"><thead><tr>{titles}</tr></thead>'
        f"<tbody>\n{chr(10).join(lines)}\n</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    kind = f' class="{cell.kind}"' if cell.kind else ""
    value = "" if cell.value is None else f' data-value="{cell.value!r}"'
    text = escape(cell.text)
    return f"<td{kind}{value}>{f'<code>{text}</code>' if cell.code else text}</td>"


def cards(entries: Sequence[tuple[str, str, Any]]) -> str:
    """Numbers that matter most: title, text, the exact value."""
    made = (
        f'<div class="card" data-name="{escape(title)}" data-value="{value!r}"><b>{escape(text)}</b>'
        f"<span>{escape(title)}</span></div>"
        for title, text, value in entries
    )
    return f'<div class="cards">{"".join(made)}</div>'


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph."""
    return f"<p{f' class={kind}' if kind else ''}>{escape(text)}</p>"
