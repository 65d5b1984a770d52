"""Draws plots as SVG text: pure functions of numbers, without scripts and without files.

All names that are drawn come from records, which anybody may have named: they are escaped here.
Colours are variables of the page's style sheet, so that they follow its light and dark scheme.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

COLOURS = 8
"""How many colours the style sheet has, `--c0` to `--c7`; the last is for "others"."""

_WIDTH, _HEIGHT = 960, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 8, 12, 34


class Series(NamedTuple):
    """One colour of a stacked plot."""

    name: str
    values: list[float]
    """One for each label of the plot."""
    colour: int


class Bar(NamedTuple):
    """One bar of a ranking."""

    name: str
    value: float
    note: str
    """Shown behind the value, smaller."""


def stacked(labels: Sequence[str], series: Sequence[Series], unit: str) -> str:
    """Columns in time, one for each label, stacked by series; hovering shows name and value."""
    totals = [sum(max(0.0, one.values[index]) for one in series) for index in range(len(labels))]
    top = _nice_top(max(totals, default=0))
    inner_width, inner_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    step = inner_width / max(1, len(labels))
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(unit)} over time">'
    ]
    for tick in range(5):
        value = top * tick / 4
        y = _TOP + inner_height * (1 - tick / 4)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{short(value)}</text>"
        )
    gap = min(2.0, step * 0.15)
    for index, label in enumerate(labels):
        x, y = _LEFT + step * index + gap / 2, float(_TOP + inner_height)
        for one in series:
            height = inner_height * max(0.0, one.values[index]) / top
            if height > 0:
                y -= height
                parts.append(
                    f'<rect x="{x:.2f}" y="{y:.2f}" width="{max(0.5, step - gap):.2f}" '
                    f'height="{height:.2f}" fill="var(--c{one.colour})"><title>{escape(label)} · '
                    f"{escape(one.name)}: {short(one.values[index])} {escape(unit)}</title></rect>"
                )
    every = max(1, math.ceil(len(labels) / 10))
    parts += [
        f'<text class="tick" x="{_LEFT + step * (index + 0.5):.1f}" y="{_HEIGHT - 12}" '
        f'text-anchor="middle">{escape(labels[index])}</text>'
        for index in range(0, len(labels), every)
    ]
    return "".join([*parts, "</svg>"])


def legend(series: Sequence[Series]) -> str:
    """The names of a stacked plot's colours."""
    items = (
        f'<li><i style="background:var(--c{one.colour})"></i>{escape(shortened(one.name))}</li>'
        for one in series
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def ranking(bars: Sequence[Bar], unit: str) -> str:
    """Horizontal bars, as given; names are above them, so that long ones can be read."""
    row, width = 38, 330
    top = max((bar.value for bar in bars), default=0) or 1
    height = max(1, len(bars)) * row
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(unit)}, ranked">']
    for index, bar in enumerate(bars):
        y = index * row
        parts.append(
            f"<g><title>{escape(bar.name)}: {bar.value:,.1f} {escape(unit)}, {escape(bar.note)}"
            f'</title><text x="0" y="{y + 14}">{escape(shortened(bar.name, 24))}</text>'
            f'<text class="tick" x="{width}" y="{y + 14}" text-anchor="end">'
            f"{short(bar.value)} · {escape(bar.note)}</text>"
            f'<rect class="track" x="0" y="{y + 20}" width="{width}" height="8" rx="4"/>'
            f'<rect x="0" y="{y + 20}" width="{width * max(0.0, bar.value) / top:.1f}" height="8" '
            f'rx="4" fill="var(--c0)"/></g>'
        )
    return "".join([*parts, "</svg>"])


def short(value: float) -> str:
    """A number as one reads it from a plot: 0, 12, 3.4k, 1.2M."""
    for limit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{suffix}"
    return f"{value:.3g}"


def shortened(name: str, limit: int = 36) -> str:
    """A name that fits: its end says more than its middle."""
    return name if len(name) <= limit else f"{name[: limit // 2]}…{name[-limit // 2 + 1 :]}"


def _nice_top(value: float) -> float:
    """The smallest of 1, 2, 3, 4, 6, 8, 10 times a power of ten that is not below the value."""
    if value <= 0:
        return 1
    power: float = 10 ** math.floor(math.log10(value))
    return next(
        nice * power for nice in (1, 2, 3, 4, 6, 8, 10) if nice * power >= value * (1 - 1e-12)
    )
