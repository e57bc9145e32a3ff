"""Charts as SVG inside the page: no script, no library, nothing from the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 1000, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 12, 14, 34
_POINTS = 1500
"""Most points of a curve; more are thinned to the highest of each stretch."""
_TICKS = 5


@dataclass(frozen=True)
class Frame:
    """The coordinates of a chart: data from (`x0`, `y0`) to (`x1`, `y1`)."""

    x0: float
    x1: float
    y0: float
    y1: float

    def x(self, value: float) -> float:
        """Pixels from the left."""
        return _LEFT + (value - self.x0) / ((self.x1 - self.x0) or 1) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return HEIGHT - _BOTTOM - (value - self.y0) / ((self.y1 - self.y0) or 1) * (HEIGHT - _TOP - _BOTTOM)


Label = Callable[[float], str]


def area(values: Sequence[float], limit: float, label: Label, title: str, axis: str) -> str:
    """A curve over steps, filled, with a dashed line.

    Args:
        values: one for each step.
        limit: where the line is.
        label: text of a value.
        title: for screen readers.
        axis: what the steps are.
    """
    frame = Frame(0, max(len(values) - 1, 1), 0, max([*values, limit, 1]))
    points = [f"{frame.x(at):.1f},{frame.y(value):.1f}" for at, value in thinned(values)]
    ends = f"{frame.x(frame.x1):.1f},{frame.y(0):.1f} {frame.x(0):.1f},{frame.y(0):.1f}"
    y = f"{frame.y(limit):.1f}"
    body = [
        f'<polygon class="area" points="{" ".join(points)} {ends}"/>',
        f'<line class="limit" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>',
    ]
    return _svg(title, [*_grid(frame, label, str, axis), *body])


def thinned(values: Sequence[float]) -> list[tuple[int, float]]:
    """Points of a curve, at most so many; of each stretch the highest, so that no peak is lost."""
    stride = -(-len(values) // _POINTS) or 1
    found = []
    for start in range(0, len(values), stride):
        at = max(range(start, min(start + stride, len(values))), key=values.__getitem__)
        found.append((at, values[at]))
    return found


def path(points: Sequence[tuple[float, float]], across: Label, up: Label, title: str, axis: str) -> str:
    """Points that belong to one another, joined."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    frame = Frame(min(xs), max(xs), 0, max([*ys, 1e-12]) * 1.05)
    joined = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points)
    dots = [f'<circle class="dot" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="4"/>' for x, y in points]
    return _svg(title, [*_grid(frame, up, across, axis), f'<polyline class="path" points="{joined}"/>', *dots])


def bars(entries: Sequence[tuple[str, Sequence[float]]], label: Label, title: str) -> str:
    """Horizontal bars: a name and one bar for each of its values."""
    most = max((value for _, values in entries for value in values), default=0) or 1
    rows, y = [], 8
    for name, values in entries:
        rows.append(f'<text x="0" y="{y + 13}">{escape(name)}</text>')
        for number, value in enumerate(values):
            width = value / most * (WIDTH - 330)
            rows.append(
                f'<rect class="bar{number % 4}" x="230" y="{y}" width="{max(width, 1):.1f}" height="16" rx="2"/>'
            )
            rows.append(f'<text x="{238 + width:.1f}" y="{y + 13}">{escape(label(value))}</text>')
            y += 19
        y += 6
    return _svg(title, rows, y)


def _grid(frame: Frame, up: Label, across: Label, axis: str) -> list[str]:
    made = []
    for tick in range(_TICKS):
        value = frame.y0 + (frame.y1 - frame.y0) * tick / (_TICKS - 1)
        y = frame.y(value)
        made.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        made.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(up(value))}</text>')
    for value, anchor in ((frame.x0, "start"), (frame.x1, "end")):
        made.append(
            f'<text x="{frame.x(value):.1f}" y="{HEIGHT - 14}" text-anchor="{anchor}">{escape(across(value))}</text>'
        )
    made.append(f'<text x="{(WIDTH + _LEFT) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(axis)}</text>')
    return made


def _svg(title: str, body: Sequence[str], height: int = HEIGHT) -> str:
    inner = "\n".join(body)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>\n{inner}\n</svg>"
    )
