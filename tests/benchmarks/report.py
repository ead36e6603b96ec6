"""What is said of the figures: a table, which targets are reached, and a picture.

Figures are `{(title, unit): {server: [one a round]}}`.
"""

import math
from statistics import median
from xml.sax.saxutils import escape

from plan import ALL, PLAN, STORM, Ratio, better

LEGEND = """
null      a server that does nothing: the ceiling of the load itself
tutorial  the Node server with the tutorial's settings: SQLite's own, a rollback journal
node      the same with WAL and synchronous=FULL, which is what chatlab has
plain     the server of chapter 03, on chatlab's log and transport
finished  python -m chatlab
"""
LINE, TITLES, WIDTH = 20, 330, 900
"""Pixels of the picture: the height of a line, the width of the titles, and of everything."""
LEAST, MOST = -4, 7
"""The ends of its axis, as powers of two."""
COLOURS = {"plain": "#b7791f", "finished": "#2b6cb0"}
"""The servers of the picture; the dots of a round lie on one line with their median."""


def ratios(figures, key, name="finished"):
    """Return, round by round, how many times as good as the Node server another one is."""
    servers = figures.get(key, {})
    pairs = zip(servers.get(name, ()), servers.get("node", ()), strict=False)
    return [better(key[1], one, other) for one, other in pairs if one and other]


def table(figures):
    """Return the medians of all servers; then how the finished one compares with the one in Node.

    The last two columns are the worst and the best round.
    """
    heads = "".join(f"{name:>10}" for name in ALL)
    lines = [LEGEND, f"{'medians':52}{heads}   finished is x times as good as node"]
    for (title, unit), servers in figures.items():
        cells = "".join(f"{_short(servers.get(name)):>10}" for name in ALL)
        each = ratios(figures, (title, unit))
        spread = f"   {median(each):6.2f}  ({min(each):.2f} to {max(each):.2f})" if each else ""
        lines.append(f"{f'{title}: {unit}':52}{cells}{spread}")
    return "\n".join(lines)


def _short(values):
    """Return a median with three digits that matter, and a dash for nothing."""
    if not values:
        return "-"
    middle = median(values)
    return f"{middle:,.0f}" if middle >= 100 else f"{middle:.3g}"


def verdicts(figures):
    """Return a line for each target: whether it is reached, and by how much."""
    lines = [""]
    for step in (*PLAN, STORM):
        for unit, target in step.figures.items():
            if target is not None:
                lines.append(_verdict(figures, (step.title, unit), target))
    return "\n".join(lines)


def _verdict(figures, key, target):
    title = ": ".join(key)
    if isinstance(target, Ratio):
        said = f"{title}: at least {target.least:g} times as good as node"
        values = ratios(figures, key)
        reached = values and median(values) >= target.least
    else:
        said = f"{title}: at most {target.most:g}"
        values = figures.get(key, {}).get("finished", [])
        reached = values and median(values) <= target.most
    if not values:
        return f"not measured  {said}"
    return f"{'reached' if reached else 'NOT REACHED':13} {said}: {median(values):.3g}"


def picture(figures):
    """Return an SVG: how many times as good as the Node server the others are, in each figure."""
    keys = [key for key in figures if ratios(figures, key)]
    height = LINE * (len(keys) + 3)
    parts = [_axis(height)]
    for number, key in enumerate(keys, start=1):
        parts += _row(figures, key, LINE * (number + 0.5))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _x(ratio):
    """Return where a ratio is on the axis, which is logarithmic."""
    power = min(max(math.log2(ratio), LEAST), MOST)
    return TITLES + (WIDTH - TITLES - LINE) * (power - LEAST) / (MOST - LEAST)


def _axis(height):
    parts = [_text(LINE / 2, LINE, "times as good as the Node server; a line is the target")]
    for place, (name, colour) in enumerate(COLOURS.items()):
        parts.append(_text(TITLES + 100 * place, LINE, name, fill=colour))
    for power in range(LEAST, MOST + 1):
        x = _x(2.0**power)
        stroke = "#555" if power == 0 else "#ddd"
        parts.append(f'<path d="M{x:.1f} {LINE * 1.3}V{height - LINE * 1.3}" stroke="{stroke}"/>')
        parts.append(_text(x - 8, height - LINE / 2, f"{2.0**power:g}"))
    return "".join(parts)


def _row(figures, key, y):
    parts = [_text(LINE / 2, y + 4, ": ".join(key))]
    for name, colour in COLOURS.items():
        each = ratios(figures, key, name)
        for ratio in each:
            parts.append(_dot(ratio, y, 3, colour, 0.4))
        if each:
            parts.append(_dot(median(each), y, 6, colour, 1))
    targets = {(step.title, unit): goal for step in PLAN for unit, goal in step.figures.items()}
    if isinstance(targets.get(key), Ratio):
        x = _x(targets[key].least)
        parts.append(f'<path d="M{x:.1f} {y - 9}v18" stroke="#c53030" stroke-width="2"/>')
    return parts


def _dot(ratio, y, radius, colour, opacity):
    place = f'cx="{_x(ratio):.1f}" cy="{y}" r="{radius}"'
    return f'<circle {place} fill="{colour}" fill-opacity="{opacity}"/>'


def _text(x, y, words, fill="#222"):
    return f'<text x="{x:.1f}" y="{y}" fill="{fill}">{escape(words)}</text>'
