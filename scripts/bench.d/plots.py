# SPDX-License-Identifier: MIT
"""Plots by gnuplot, as SVG to stand inside a page: text and axes have the page's colour, so they do in the dark, too."""
import re
import subprocess
import tempfile

COLOURS = {"floor": "#8a8f98", "nginx-ktls": "#8cb8e0", "nginx": "#3f78b5", "haproxy": "#4f9d69", "hitch": "#a678b0", "ktlsd": "#e2662b",
           "ktls-run": "#f2a65a"}
OTHER = "#b8860b"

STYLE = """set terminal svg size {width},{height} dynamic font "system-ui,sans-serif,14" noenhanced linewidth 1.4
set border 3 linecolor "black" linewidth 0.7
set tics nomirror out scale 0.5
set grid ytics linecolor "#888888" linewidth 0.4 dashtype 3
set key above left horizontal Left reverse samplen 1.4 width 2 font ",13"
set style fill solid 1 noborder
set errorbars small
set pointintervalbox 0
set yrange [0:*]
"""

count = 0


def draw(script, tables, width=860, height=330):
    """The SVG that gnuplot makes of a script, in which $data0 and on are tables: lists of rows."""
    blocks = []
    for i, table in enumerate(tables):
        lines = (" ".join(f'"{cell}"' if isinstance(cell, str) else f"{cell}" for cell in row) for row in table)
        blocks += [f"$data{i} << END", *lines, "END"]
    with tempfile.NamedTemporaryFile("w", suffix=".gp") as file:
        file.write(STYLE.format(width=width, height=height) + "\n".join(blocks) + "\n" + script + "\n")
        file.flush()
        done = subprocess.run(["gnuplot", file.name], capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout:
        raise RuntimeError(f"gnuplot: {done.stderr}")
    return embeddable(done.stdout)


def embeddable(svg):
    """Without its prologue, its names made unlike those of other plots in the page, black made the text's colour."""
    global count
    count += 1
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r"<desc>.*?</desc>|<title>.*?</title>", "", svg, flags=re.S)
    svg = re.sub(r"""(id=["']|href=["']#|url\(#)""", rf"\1p{count}-", svg)
    return re.sub(r"black|rgb\( *0, *0, *0\)", "currentColor", svg)


def colour(name):
    return COLOURS.get(name, OTHER)


def bars(groups, series, unit):
    """Clusters of bars with quartiles. groups: titles; series: (name, title, a Figure or None for each group)."""
    step = len(series) + 1.5
    tables, plots = [], []
    for i, (name, title, values) in enumerate(series):
        tables.append([(g * step + i, f.median, f.low, f.high) for g, f in enumerate(values) if f and f.known])
        plots.append(f'$data{i} using 1:2 with boxes title "{title}" linecolor "{colour(name)}"')
        if any(low < high for _, _, low, high in tables[-1]):
            plots.append(f'$data{i} using 1:2:3:4 with yerrorbars notitle linecolor "black" linewidth 0.8 pointtype 0')
    tics = ", ".join(f'"{group}" {g * step + (len(series) - 1) / 2}' for g, group in enumerate(groups))
    return draw(f"""set boxwidth 1
set ylabel "{unit}"
set xtics scale 0 ({tics})
set xrange [-1.5:{len(groups) * step}]
plot {", ".join(plots)}""", tables)


def curves(series, unit, across, logarithmic="x", level=None, width=860, height=330):
    """Lines. series: (name, title, rows of x and y, or of x, y, low and high); level: (title, y) of a line across."""
    plots = []
    for i, (name, title, points) in enumerate(series):
        style = f'linecolor "{colour(name)}" linewidth 1.6 pointtype 7 pointsize 0.5'
        plots.append(f'$data{i} using 1:2 with linespoints title "{title}" {style}')
        if points and len(points[0]) == 4:
            plots.append(f'$data{i} using 1:2:3:4 with yerrorbars notitle linecolor "black" linewidth 0.8 pointtype 0')
    if level:
        plots.append(f'{level[1]} title "{level[0]}" linecolor "{colour("floor")}" dashtype 2')
    xs = sorted({x for _, _, points in series for x, *_ in points})
    tics = ", ".join(f'"{x:,.0f}" {x}' for x in xs)
    low, high = (xs[0] / 1.4, xs[-1] * 1.4) if "x" in logarithmic else (min(0, xs[0]) if xs[0] == 0 else xs[0] - 0.3, xs[-1] * 1.05)
    scale = f"set logscale {logarithmic}\n" if logarithmic else ""
    if "y" in logarithmic:
        scale += "set yrange [*:*]\n"
    return draw(f"""{scale}set ylabel "{unit}"
set xlabel "{across}"
set xtics ({tics})
set xrange [{low}:{high}]
set format y "%'.0f"
plot {", ".join(plots)}""", [points for _, _, points in series], width, height)
