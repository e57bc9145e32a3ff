"""A frontier as a picture: a small SVG without scripts or styles from elsewhere, for a page or a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jogak.text import size

_WIDTH, _HEIGHT, _LEFT, _BELOW, _AROUND = 640, 360, 64, 48, 16
_TICKS = 5


def frontier_svg(frontier: Mapping[str, Any]) -> str:
    """Added time in percent over memory, with the lower bound, as text that can stand in HTML.

    Args:
        frontier: what `jogak.report.frontier.frontier_points` returns.
    """
    points = frontier["points"]
    memory = [float(point["memory_bytes"]) for point in points]
    added = [float(point["added_time_percent"]) for point in points]
    bound = [float(point["lower_bound_percent"]) for point in points]
    low, high, top = min(memory), max(memory), max([*added, 1e-9])

    def place(bytes_: float, percent: float) -> tuple[float, float]:
        across = (bytes_ - low) / (high - low) if high > low else 0.5
        return (
            _LEFT + across * (_WIDTH - _LEFT - _AROUND),
            _HEIGHT - _BELOW - percent / top * (_HEIGHT - _BELOW - _AROUND),
        )

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12" role="img" aria-label="added time over memory">',
        *_axes(low, high, top, place(low, 0), place(high, 0)),
        _line([place(*each) for each in zip(memory, bound, strict=True)], 'stroke="#999" stroke-dasharray="4 3"'),
        _line([place(*each) for each in zip(memory, added, strict=True)], 'stroke="#1f6feb" stroke-width="2"'),
        *(_mark(place(m, a), point) for m, a, point in zip(memory, added, points, strict=True)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _axes(low: float, high: float, top: float, left: tuple[float, float], right: tuple[float, float]) -> Iterator[str]:
    (x0, y0), (x1, _) = left, right
    yield f'<path d="M{_LEFT} {_AROUND}V{y0:.1f}H{_WIDTH - _AROUND}" fill="none" stroke="#333"/>'
    for tick in range(_TICKS):
        share = tick / (_TICKS - 1)
        x, y = x0 + share * (x1 - x0), y0 - share * (y0 - _AROUND)
        yield f'<text x="{x:.1f}" y="{y0 + 18:.1f}" text-anchor="middle">{size(low + share * (high - low))}</text>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{share * top:.3g} %</text>'
    yield f'<text x="{(x0 + x1) / 2:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">memory of a device</text>'
    yield f'<text x="{_LEFT + 8}" y="{_AROUND + 4}">added time (dashed: lower bound)</text>'


def _line(points: Sequence[tuple[float, float]], style: str) -> str:
    return f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" fill="none" {style}/>'


def _mark(at: tuple[float, float], point: Mapping[str, Any]) -> str:
    told = f"{size(point['memory_bytes'])}: +{point['added_time_percent']:.2f} %, {point['recomputed_ops']} ops again"
    return f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="4" fill="#1f6feb"><title>{told}</title></circle>'
