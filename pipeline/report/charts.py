"""Charts as inline SVG. Colours are CSS classes (``s0`` ...), so that charts are readable on light and dark pages."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 440.0, 230.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 10.0, 12.0, 36.0


@dataclass(frozen=True)
class Series:
    """Named values of one colour class."""

    label: str
    values: Sequence[float]
    style: str


@dataclass(frozen=True)
class Scale:
    """A linear map of values to positions along one axis of the chart."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Position of a value, rounded to keep the page small."""
        span = (self.high - self.low) or 1.0
        return round(self.start + (value - self.low) / span * (self.end - self.start), 2)


def stacked_bar(parts: Sequence[tuple[str, float, str]], label: str) -> Markup:
    """One horizontal bar of full width. parts: (name, value, class); stretched by CSS, so it carries no text."""
    total = sum(value for _, value, _ in parts) or 1.0
    out, x = [], 0.0
    for name, value, style in parts:
        width = value / total * 100
        if width > 0:
            words = f"{name}: {value:,.0f}" if float(value).is_integer() else f"{name}: {value:,.2f}"
            out.append(_tag("rect", f"{words}", x=round(x, 3), y=0, width=round(width, 3), height=10, class_=style))
        x += width
    body = Markup("").join(out)
    frame = '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    return Markup(frame).format(label, body)


def histogram(
    edges: Sequence[float],
    series: Sequence[Series],
    *,
    marks: Sequence[tuple[str, float, str]],
    label: str,
    x_label: str,
) -> Markup:
    """Overlaid histograms of shares (0..1) between ``edges``. marks: (name, x, class) of vertical lines."""
    top = max((v for s in series for v in s.values), default=0.0) or 1.0
    x, y = _axes((edges[0], edges[-1]), (0.0, top))
    out = [_grid(x, y, _ticks(edges[0], edges[-1]), _ticks(0, top), percent=True), _x_label(x_label)]
    for one in series:
        for index, value in enumerate(one.values):
            if value > 0:
                left, right = x(edges[index]), x(edges[index + 1])
                words = f"{one.label}, {edges[index]:.1f} to {edges[index + 1]:.1f}: {value:.1%}"
                out.append(
                    _tag("rect", words, x=left, y=y(value), width=round(right - left - 0.6, 2),
                         height=round(y(0) - y(value), 2), class_=f"{one.style} veil")
                )  # fmt: skip
    for name, value, style in marks:
        at = x(min(max(value, edges[0]), edges[-1]))
        out.append(_tag("line", f"{name}: {value:.2f}", x1=at, x2=at, y1=TOP, y2=y(0), class_=f"{style} mark"))
    return _chart(out, label)


def line_chart(
    xs: Sequence[float],
    series: Sequence[Series],
    *,
    label: str,
    x_label: str,
    y_range: tuple[float, float] | None = None,
) -> Markup:
    """Line chart over a common x axis; the caller draws the legend."""
    values = [v for s in series for v in s.values if math.isfinite(v)]
    low, high = y_range or _padded(min(values, default=0.0), max(values, default=1.0))
    x, y = _axes((xs[0], xs[-1] if len(xs) > 1 else xs[0] + 1), (low, high))
    whole = all(float(v).is_integer() for v in xs)
    ticks = [t for t in _ticks(x.low, x.high) if not whole or float(t).is_integer()]
    out = [_grid(x, y, ticks, _ticks(low, high)), _x_label(x_label)]
    for one in series:
        points = [(x(a), y(b)) for a, b in zip(xs, one.values, strict=True) if math.isfinite(b)]
        out.append(
            _tag("polyline", one.label, points=" ".join(f"{a},{b}" for a, b in points), class_=f"{one.style} line")
        )
        if len(points) <= 12:
            for (a, b), value in zip(points, one.values, strict=False):
                out.append(_tag("circle", f"{one.label}: {value:.3g}", cx=a, cy=b, r=3.2, class_=f"{one.style} dot"))
    return _chart(out, label)


def intervals(rows: Sequence[tuple[str, float, float, float]], *, label: str, x_label: str) -> Markup:
    """One line a row: a dot at the mean and its interval. rows: (name, mean, low, high)."""
    low, high = _padded(min(r[2] for r in rows), max(r[3] for r in rows))
    height = 34.0 * len(rows) + 44
    x = Scale(low, high, 120.0, WIDTH - RIGHT - 8)
    out = []
    for tick in _ticks(low, high):
        out.append(_tag("line", "", x1=x(tick), x2=x(tick), y1=6, y2=height - 34, class_="gridline"))
        out.append(_text(_short(tick), x(tick), height - 20, "middle"))
    out.append(_text(x_label, (120 + WIDTH) / 2, height - 4, "middle"))
    for index, (name, mean, lower, upper) in enumerate(rows):
        y = 24.0 + 34 * index
        style = "s0" if index == 0 else "s5"
        out.append(_text(name, 112, y + 4, "end"))
        out.append(_tag("line", "", x1=x(lower), x2=x(upper), y1=y, y2=y, class_=f"{style} whisker"))
        out.append(
            _tag(
                "circle",
                f"{name}: {mean:.3f} ({lower:.3f} to {upper:.3f})",
                cx=x(mean),
                cy=y,
                r=5,
                class_=f"{style} dot",
            )
        )
    return _chart(out, label, height)


def _axes(x_range: tuple[float, float], y_range: tuple[float, float]) -> tuple[Scale, Scale]:
    return Scale(*x_range, LEFT, WIDTH - RIGHT), Scale(*y_range, HEIGHT - BOTTOM, TOP)


def _padded(low: float, high: float) -> tuple[float, float]:
    pad = (high - low) * 0.08 or 0.5
    return (max(0.0, low - pad) if low >= 0 else low - pad), high + pad


def _ticks(low: float, high: float) -> list[float]:
    """Four to seven round values within a range."""
    span = (high - low) or 1.0
    step = 10 ** math.floor(math.log10(span / 4))
    step = next(step * factor for factor in (1, 2, 2.5, 5, 10) if span / (step * factor) <= 6)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 10) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _grid(x: Scale, y: Scale, x_ticks: Sequence[float], y_ticks: Sequence[float], percent: bool = False) -> Markup:
    out = []
    for tick in y_ticks:
        out.append(_tag("line", "", x1=LEFT, x2=WIDTH - RIGHT, y1=y(tick), y2=y(tick), class_="gridline"))
        out.append(_text(f"{tick:.0%}" if percent else _short(tick), LEFT - 6, y(tick) + 4, "end"))
    out += [_text(_short(tick), x(tick), HEIGHT - BOTTOM + 15, "middle") for tick in x_ticks]
    return Markup("").join(out)


def _short(value: float) -> str:
    return f"{value:g}"


def _x_label(text: str) -> Markup:
    return _text(text, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, "middle")


def _text(words: str, x: float, y: float, anchor: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(round(x, 2), round(y, 2), anchor, words)


def _tag(name: str, title: str, **attributes: float | str) -> Markup:
    words = Markup("").join(Markup(' {}="{}"').format(key.rstrip("_"), value) for key, value in attributes.items())
    inner = Markup("<title>{}</title>").format(title) if title else ""
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), words, inner)


def _chart(parts: Sequence[Markup], label: str, height: float = HEIGHT) -> Markup:
    head = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        WIDTH, height, escape(label)
    )
    return head + Markup("").join(parts) + Markup("</svg>")
