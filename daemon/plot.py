"""A backtest as a picture and as a page, by matplotlib (the extra `plot`). The same figures give the same bytes."""

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from html import escape
from typing import Final

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS: Final = ("#0b6e4f", "#7a7a7a", "#2a6fdb", "#c2571a")
Curve = Sequence[tuple[int, Decimal]]
Bounds = Sequence[tuple[Decimal, Decimal]]

PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
svg {{ width: 100%; height: auto }}
table {{ border-collapse: collapse; margin: 1rem 0 }}
th, td {{ padding: .2rem .9rem; text-align: right; border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums }}
th:first-child, td:first-child {{ text-align: left }}
</style></head><body><h1>{title}</h1>{picture}<table>{rows}</table></body></html>
"""


def drawn(
    *, title: str, prices: Curve, ladders: Sequence[tuple[int, Bounds]], until: int, curves: Mapping[str, Curve],
    rows: Sequence[Sequence[str]],
) -> tuple[bytes, str]:  # fmt: skip
    """Return a PNG, and a page that holds the picture as SVG and the table; it needs nothing from elsewhere.

    `ladders` are the bounds of rungs from a time on, until the next; `rows` is the table, its head first.
    """
    # Ids within an SVG are random unless they have a salt, and both formats would carry the time of day.
    with mpl.rc_context({"svg.hashsalt": "chainworkd", "svg.fonttype": "none", "font.family": "DejaVu Sans"}):
        figure = _figure(title, prices, _rectangles(ladders, until), curves)
        png, svg = io.BytesIO(), io.StringIO()
        figure.savefig(png, format="png", dpi=110, metadata={"Software": None})
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    picture = svg.getvalue()
    return png.getvalue(), PAGE.format(title=escape(title), picture=picture[picture.index("<svg") :], rows=_rows(rows))


def _figure(
    title: str, prices: Curve, ladders: Sequence[tuple[int, int, Bounds]], curves: Mapping[str, Curve]
) -> Figure:
    figure = Figure(figsize=(12, 8), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    for begin, end, bounds in ladders:
        for low, high in bounds:
            when = [_time(begin), _time(end)]
            above.fill_between(when, _number(low), _number(high), color=COLOURS[0], linewidth=0.6, alpha=0.2)
    above.plot([_time(at) for at, _ in prices], [_number(price) for _, price in prices], color="#111", linewidth=0.9)
    above.set_ylabel("price, and the droid's rungs")
    above.set_title(title)
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        below.plot(
            [_time(at) for at, _ in curve], [_number(worth) for _, worth in curve], label=name, color=colour,
            linewidth=1.6 if name == "droid" else 1.0,
        )  # fmt: skip
    below.set_ylabel("worth, gas paid")
    below.legend(loc="best", frameon=False)
    for axes in (above, below):
        axes.grid(visible=True, alpha=0.25)
    return figure


def _rectangles(ladders: Sequence[tuple[int, Bounds]], until: int) -> list[tuple[int, int, Bounds]]:
    ends = [at for at, _ in ladders[1:]] + [until]
    return [(at, end, bounds) for (at, bounds), end in zip(ladders, ends, strict=False)]


def _rows(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    cells = [("th", head), *(("td", row) for row in body)]
    return "".join(f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in row)}</tr>" for tag, row in cells)


def _time(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _number(value: Decimal) -> float:
    return float(value)
