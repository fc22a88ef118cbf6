# SPDX-License-Identifier: MIT
"""The page: what was measured, against whom, on what machine, how to repeat it. One file, nothing else is loaded."""
import html
import pathlib

import plots
import text
from figures import PERCENTILES, Figure

CSS = """
:root { color-scheme: light dark; --ground: #fff; --text: #1d2330; --soft: #5c6574; --line: #dfe3e9; --card: #f6f7f9; --met: #1f7a44;
  --missed: #b3361b; --accent: #c9501a; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171c; --text: #e4e7ec; --soft: #9aa4b2; --line: #2d333d; --card: #1c2027;
  --met: #5cc48a; --missed: #f0795c; --accent: #f08a54; } }
body { font: 16px/1.55 system-ui, "DejaVu Sans", sans-serif; color: var(--text); background: var(--ground); max-width: 66rem;
  margin: 2.5rem auto; padding: 0 1.2rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.8rem 0 .6rem; }
p { max-width: 48rem; } .soft, figcaption { color: var(--soft); font-size: .9rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: 1rem; margin: 1.5rem 0; }
.card { background: var(--card); border-radius: .6rem; padding: 1rem 1.1rem; }
.card b { display: block; font-size: 1.9rem; line-height: 1.2; font-variant-numeric: tabular-nums; color: var(--accent); }
.card span { display: block; color: var(--soft); font-size: .85rem; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; } figure svg { width: 100%; height: auto; display: block; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1rem 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .32rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; } th:first-child, td:first-child, .left { text-align: left; }
td { white-space: nowrap; } td.words { white-space: normal; text-align: left; overflow-wrap: anywhere; }
tr.group td { padding-top: 1.1rem; font-weight: 600; text-align: left; }
.met { color: var(--met); font-weight: 600; } .missed { color: var(--missed); font-weight: 600; }
code, pre { font: .85rem/1.5 ui-monospace, "DejaVu Sans Mono", monospace; background: var(--card); border-radius: .3rem; }
code { padding: .1rem .3rem; } pre { padding: .8rem 1rem; overflow-x: auto; } summary { cursor: pointer; }
"""

CARDS = (
    ("handshakes_per_cpu_vs_nginx", "full handshakes per CPU second, times those of nginx's better mode"),
    ("resumed_per_cpu_vs_nginx", "resumed handshakes per CPU second, times nginx's"),
    ("listener_nginx_handshakes_per_cpu_vs_nginx", "nginx in clear under ktls-run: full handshakes per CPU second, times those of its own TLS"),
    ("cpu_per_handshake_vs_floor", "CPU time of a full handshake, times that of OpenSSL in memory"),
    ("syscalls_per_handshake", "system calls of a handshake, agent and server"),
)

GROWTH = (
    ("held_cpu_us", "CPU time per handshake, µs", "half-open handshakes beside it", "x", 1),
    ("halfopen_kb", "memory of its processes, MiB", "half-open handshakes", "x", 1024),
    ("idle_kb", "memory of its processes, MiB", "idle connections", "x", 1024),
    ("idle_slab_kb", "kernel memory of both ends, MiB", "idle connections", "x", 1024),
    ("services_kb", "memory of its processes, MiB", "services", "x", 1024),
    ("services_cpu_us", "CPU time per handshake, µs", "services", "x", 1),
    ("chain_cpu_us", "CPU time per handshake, µs", "certificates in the chain", "", 1),
)


def escape(words):
    return html.escape(str(words))


def table(rows, left=(), mark=None):
    """left: columns of words beside the first; mark(row): the class of the last cell."""
    head, *body = rows
    out = ["<div class=wide><table><tr>"]
    out += [f"<th{' class=left' if i in left else ''}>{escape(cell)}" for i, cell in enumerate(head)]
    for row in body:
        out.append("<tr>")
        for i, cell in enumerate(row):
            name = mark(row) if mark and i == len(row) - 1 else "words" if i in left else ""
            out.append(f"<td{f' class={name}' if name else ''}>{escape(cell)}")
    return "".join(out) + "</table></div>"


def grouped(rows):
    """The first column as headings within the table."""
    head, *body = rows
    out = ["<div class=wide><table><tr>", *(f"<th>{escape(cell)}" for cell in head[1:])]
    group = None
    for first, *rest in body:
        if first != group:
            out.append(f"<tr class=group><td colspan={len(rest)}>{escape(first)}")
        out += ["<tr>", *(f"<td>{escape(cell)}" for cell in rest)]
        group = first
    return "".join(out) + "</table></div>"


def figure(svg, caption):
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def cards(summary):
    known = [(summary[key], words) for key, words in CARDS if key in summary]
    spreads = [f"{f.low:.2f} to {f.high:.2f}" if f.count > 1 else "measured once" for f, _ in known]
    return "<div class=cards>" + "".join(f"<div class=card><b>{f.median:.2f}</b><span>{spread}</span>{escape(words)}</div>"
                                         for (f, words), spread in zip(known, spreads)) + "</div>"


def series_of(results, load_names):
    """Name and title of whoever took part in one of the loads."""
    measured = {run["name"] for run in results.runs if run["load"] in load_names}
    named = [("floor", "floor: OpenSSL in memory")] + [(c.name, c.title) for c in results.contenders]
    return [(name, title) for name, title in named if name in measured]


def by_load(results):
    loads = [load for load in results.loads if load.mode == "handshake" and (not load.crowd or load.name == "full")]
    series = []
    for name, title in series_of(results, [load.name for load in loads]):
        values = [Figure(results.cpu(name, load).values()) for load in loads] # the floor has runs of its own, by load
        if sum(value.known for value in values) > 1 or len(loads) == 1:
            series.append((name, title, values))
    titles = ["full" if load.name == "full" else load.title for load in loads]
    return plots.bars(titles, series, "CPU time per handshake, µs")


def by_crowd(results):
    loads = [load for load in results.loads if load.crowd]
    series = []
    for name, title in series_of(results, [load.name for load in loads]):
        measured = [(load.in_flight, Figure(results.cpu(name, load).values())) for load in loads]
        points = sorted((x, f.median, f.low, f.high) for x, f in measured if f.known)
        if name != "floor" and len(points) > 1:
            series.append((name, title, points))
    floor = [Figure(results.floor(load).values()) for load in loads if load.name == "full"]
    level = ("floor", floor[0].median) if floor and floor[0].known else None
    return plots.curves(series, "CPU time per handshake, µs", "handshakes in flight", level=level) if series else ""


def latency(results):
    series = [(c.name, c.title, [Figure(results.latency(c.name, p).values()) for p in PERCENTILES]) for c in results.took_part("latency")]
    return plots.bars(PERCENTILES, series, "connect to handshake, ms")


def growth(results):
    for key, unit, across, scale, divisor in GROWTH:
        names = [name for name in [c.name for c in results.contenders] if results.curve(key, name)]
        series = [(name, name, [(x, y / divisor) for x, y in results.curve(key, name)]) for name in names]
        if series and max(len(points) for _, _, points in series) > 1:
            yield figure(plots.curves(series, unit, across, scale, width=520, height=300), text.CURVES[key][0])


def settings():
    folder = pathlib.Path(__file__).parent
    return "".join(f"<details><summary><code>{path.name}</code></summary><pre>{escape(path.read_text())}</pre></details>"
                   for path in sorted(folder.glob("*.conf")))


def sections(results, summary):
    machine = results.machine
    yield "<h1>What TLS costs a server</h1>"
    yield ("<p>ktlsd does a server's TLS handshakes in an agent and leaves the connection to the server, with its keys in the kernel. "
           "Here it stands beside servers that do TLS themselves, and beside OpenSSL alone.</p>")
    yield cards(summary)
    yield f"<p class=soft>{escape(text.method(machine))}</p>"
    if results.lost:
        yield "<h2>What failed</h2>" + table(text.left_out(results), left=(1,))
    yield "<h2>Goals</h2>" + table(text.verdicts(summary), left=(), mark=lambda row: row[-1].split(",")[0].split(" ")[0])
    if results.loads:
        yield "<h2>CPU time of a handshake</h2>"
        yield figure(by_load(results), "What the server's processes, ktlsd's agent among them, and the kernel spend on a connection with "
                                       "one request; whiskers are quartiles. Less is better. The floor is OpenSSL between two buffers: "
                                       "no socket, no request.")
        yield figure(by_crowd(results), "The same for full handshakes, by how many clients are at it at once.")
        yield grouped(text.loads(results))
    if results.took_part("latency"):
        yield "<h2>Latency</h2>"
        yield figure(latency(results), f"Clients arrive at fixed times, about {text.rate(results):.0f} in a second, 70 % of what nginx can "
                                       "do; who falls behind makes those wait who come later, and that counts.")
        yield table(text.latency(results))
    curves = list(growth(results))
    if curves:
        yield "<h2>What grows with what</h2><div class=pair>" + "".join(curves) + "</div>"
        yield "<p class=soft>One measurement each.</p>"
    if results.samples:
        yield "<h2>Other figures</h2>" + table(text.others(results, summary), left=(2,))
    yield ("<h2>How to repeat it</h2><p>On a Debian machine, as root: <code>make bench</code>; <code>BENCH_QUICK=1 make bench</code> "
           "takes three minutes. Everything comes from Debian and from this source tree, and runs in a test machine (User Mode Linux) "
           "where the kernel has no TLS. <code>NATIVE=1 make bench</code> measures this machine's own kernel. docs/performance.md has the "
           "method and its limits. What everybody was configured with:</p>") + settings()


def page(results, summary):
    return (f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width, initial-scale=1'>"
            f"<title>ktlsd: what TLS costs a server</title><style>{CSS}</style>\n" + "\n".join(sections(results, summary)) + "\n")
