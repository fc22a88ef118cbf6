# SPDX-License-Identifier: MIT
"""The tables, for a terminal and for the page: lists of rows, the first of which is the head."""
import statistics

from figures import PERCENTILES, Figure, goals

CURVES = {
    "held_cpu_us": ("CPU time per handshake, beside so many that are half open", "us"),
    "halfopen_kb": ("memory of all its processes, by half-open handshakes", "KiB"),
    "idle_kb": ("memory of all its processes, by idle connections", "KiB"),
    "idle_slab_kb": ("kernel memory (slab) of both ends, by idle connections", "KiB"),
    "services_kb": ("memory of all its processes, by services", "KiB"),
    "services_cpu_us": ("CPU time per handshake, by services", "us"),
    "chain_cpu_us": ("CPU time per handshake, by certificates in the chain", "us"),
}


def method(machine):
    words = f"{machine['machine']}, " if machine["machine"] else ""
    rounds = f"Medians of {machine['rounds']} interleaved rounds, with quartiles."
    if machine["rounds"] == 1:
        rounds = "One round only: nothing here says how far figures spread."
    return (f"{machine['date']}, {words}Linux {machine['kernel']}, {machine['cpus']} CPU of {machine['cpu']}; "
            f"{', '.join(machine['software'])}. Full TLS 1.3 handshakes with ECDSA P-256, X25519, AES-128-GCM, two tickets, one request "
            f"each, 16 in flight; each load changes one thing. {rounds} "
            f"Client and server share the machine: compare CPU time, not connections per second.")


def loads(results):
    yield ["load", "server", "CPU us each", "over the floor", "per CPU second, times nginx", "per second", "p50 ms", "p99 ms"]
    for load in results.loads:
        if load.floor == load.name:
            yield [load.title, "floor: OpenSSL in memory", Figure(results.floor(load).values()).text(), "", "", "", "", ""]
        for contender in results.took_part(load.name):
            name = contender.name
            yield [
                load.title, contender.title, Figure(results.cpu(name, load).values()).text(),
                results.over_floor(name, load).ratio_text() if load.floor else "",
                results.over_nginx(name, load).ratio_text() if not name.startswith("nginx") else "",
                f"{statistics.median(results.of(name, load.name, lambda run: run['per_second']).values()):.0f}",
                *(f"{statistics.median(results.of(name, load.name, lambda run: run['response_us'][p]).values()) / 1000:.2f}"
                  for p in ("p50", "p99")),
            ]


def rate(results):
    """That the latency was measured at."""
    asked = [run["rate"]["asked"] for run in results.runs if run["load"] == "latency"]
    return statistics.median(asked) if asked else 0


def latency(results):
    yield [f"latency in ms at about {rate(results):.0f} per second, open loop", "achieved", *PERCENTILES]
    for contender in results.took_part("latency"):
        yield [contender.title, Figure(results.of(contender.name, "latency", lambda run: run["rate"]["achieved"]).values()).text(),
               *(Figure(results.latency(contender.name, p).values()).text(2) for p in PERCENTILES)]


def curve(results, key):
    names = sorted({name for c, name, *_ in results.points if c == key})
    xs = sorted({x for c, _, x, _ in results.points if c == key})
    yield [", ".join(CURVES[key]), *(f"{x:,.0f}" for x in xs)]
    for name in names:
        found = dict(results.curve(key, name))
        yield [name, *(f"{found[x]:,.0f}" if x in found else "" for x in xs)]


def others(results, summary):
    """Figures that parts of the bench said by themselves."""
    yield ["figure", "value", ""]
    for key in dict.fromkeys(key for key, *_ in results.samples):
        if key in summary:
            yield [key, summary[key].text(summary[key].digits()), summary[key].words]


def verdicts(summary):
    yield ["goal", "", "measured", ""]
    for goal in goals():
        figure = summary.get(goal.key)
        yield [goal.title, goal.limit_text, figure.text(figure.digits()) if figure else "", goal.verdict(figure)]


def left_out(results):
    yield ["what failed", "why"]
    yield from results.lost


def show(table):
    table = list(table)
    if not table[1:]:
        return
    widths = [min(max(len(row[i]) for row in table), 60) for i in range(len(table[0]))]
    print()
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def report(results, summary):
    print(f"\n{method(results.machine)}")
    for table in (loads(results), latency(results), *(curve(results, key) for key in CURVES), others(results, summary), left_out(results),
                  verdicts(summary)):
        show(table)
