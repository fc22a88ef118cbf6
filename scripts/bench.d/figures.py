# SPDX-License-Identifier: MIT
"""What was measured, and what follows from it.

A ratio is taken within each round, between neighbours in time; what is shown is the median of the rounds with the lower and
the upper quartile: a round that other work on the host has disturbed does not count. A ratio whose spread is larger than its
distance from 1 says nothing, and is not shown; against a goal it is, because there the spread is what matters. CPU time that
was taken while the machine idled is not used either: ticks don't see work that timers start.
"""
import json
import pathlib
import statistics

MOST_IDLE = 0.1
NGINX = ("nginx-ktls", "nginx")
COMPARED = {"ktlsd": "", "ktlsd-listen": "listener_", "ktls-run": "listener_nginx_"} # what their keys begin with
PERCENTILES = ("p50", "p90", "p99", "p99.9")


def rows(name, directory=pathlib.Path(__file__).parent):
    """Of a table: lists of its columns, tabs between them."""
    lines = (directory / name).read_text().splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


class Figure:
    """Median and quartiles; of nothing if one value is missing.

    >>> Figure([1.1, 1.2, 1.3]).ratio_text()
    '1.20 (1.15 to 1.25)'
    >>> Figure([0.9, 1.02, 1.1]).ratio_text()
    'not distinguishable'
    >>> Figure([2]).ratio_text()
    '2.00'
    >>> Figure([1.2, None]).text()
    'unknown'
    """

    def __init__(self, values, text=""):
        values = list(values)
        self.count, self.words = len(values), text
        self.known = len(values) > 0 and None not in values
        if self.known:
            self.low, self.median, self.high = statistics.quantiles(values, method="inclusive") if values[1:] else 3 * values

    def text(self, digits=0):
        if not self.known:
            return "unknown" if self.count else ""
        if self.count == 1:
            return f"{self.median:.{digits}f}"
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"

    def distinguishable(self):
        return self.high - self.low <= abs(self.median - 1)

    def ratio_text(self):
        return "not distinguishable" if self.known and not self.distinguishable() else self.text(2)

    def digits(self):
        """As many as its size deserves."""
        return 0 if abs(self.median) >= 100 or self.median == int(self.median) else 1 if abs(self.median) >= 10 else 2

    def json(self):
        return {"median": self.median, "low": self.low, "high": self.high}


class Goal:
    """
    >>> goal = Goal("key", "at most", "1.15", "CPU time")
    >>> goal.verdict(Figure([1.3, 1.31, 1.35])), goal.verdict(Figure([1.0])), goal.verdict(Figure([1.1, 1.14, 1.19, 1.2]))
    ('missed', 'met', 'missed, narrowly')
    >>> goal.verdict(None)
    'not measured'
    """

    def __init__(self, key, direction, limit, title):
        self.key, self.direction, self.limit, self.title = key, direction, float(limit), title
        self.limit_text = f"{direction} {limit}"

    def holds(self, value):
        return value <= self.limit if self.direction == "at most" else value >= self.limit

    def verdict(self, figure):
        if figure is None or not figure.known:
            return "not measured"
        held = [self.holds(value) for value in (figure.median, figure.low, figure.high)]
        return ("met" if held[0] else "missed") + ("" if len(set(held)) == 1 else ", narrowly")


def goals():
    return [Goal(*row) for row in rows("goals.tsv")]


class Contender:
    def __init__(self, name, base, conf, option, keys, loads, title):
        self.name, self.conf, self.title = name, conf, title
        self.key = name.replace("-", "_")


class Load:
    """A line of loads.tsv, and how its keys in the summary are called."""

    RATIOS = {"full": "handshakes_per_cpu_vs_nginx", "mutual": "mutual_tls_vs_nginx"}

    def __init__(self, name, mode, in_flight, port, floor, options, title):
        self.name, self.mode, self.in_flight, self.title = name, mode, int(in_flight), title
        crowd = name.endswith("_in_flight")
        self.floor = "full" if crowd else name if floor != "-" else None
        self.rivals = NGINX
        self.ratio = self.RATIOS.get(name, f"handshakes_per_cpu_vs_nginx_{name}" if crowd else f"{name}_per_cpu_vs_nginx")
        if mode == "rr":  # what is asked is whether the kernel's encryption is as cheap
            self.rivals = NGINX[:1]
            self.ratio = f"{name}_vs_nginx_ktls"
        self.over_floor = "cpu_per_handshake_vs_floor" + ("" if name == "full" else f"_{name}")
        self.cpu = ("" if crowd or name == "full" else f"{name}_") + f"{in_flight}_in_flight"
        self.crowd = crowd or name == "full"


def ratios(these, those):
    """Of two lists in the order of rounds, or of two dicts by round."""
    rounds = sorted(these.keys() & those.keys())
    return Figure([these[r] / those[r] if these[r] and those[r] else None for r in rounds])


class Results:
    def __init__(self, directory):
        directory = pathlib.Path(directory)
        self.machine = json.loads((directory / "machine").read_text())
        self.runs = [json.loads(line) for line in (directory / "runs").read_text().splitlines()]
        self.points = [(curve, name, float(x), float(y)) for curve, name, x, y in rows("points", directory)]
        self.lost = rows("lost", directory)
        self.samples = rows("figures", directory)
        self.contenders = [Contender(*row) for row in rows("contenders.tsv")]
        measured = {run["load"] for run in self.runs}
        self.loads = [load for load in (Load(*row) for row in rows("loads.tsv")) if load.name in measured]

    def of(self, name, load, value):
        """By round: value(run)."""
        return {run["round"]: value(run) for run in self.runs if (run["name"], run["load"]) == (name, load)}

    def took_part(self, load):
        names = {run["name"] for run in self.runs if run["load"] == load}
        return [contender for contender in self.contenders if contender.name in names]

    def floor(self, load):
        return self.of("floor", load.floor, lambda run: run["server_cpu_us"]) if load.floor else {}

    def cpu(self, name, load):
        return self.of(name, load.name, lambda run: run["server_cpu_us"] if run.get("machine_idle", 0) <= MOST_IDLE else None)

    def better_nginx(self, load, value, modes=NGINX):
        """The mode with the lower median, or None."""
        medians = {name: statistics.median(self.of(name, load, value).values()) for name in modes if self.of(name, load, value)}
        return min(medians, key=medians.get, default=None)

    def over_floor(self, name, load):
        return ratios(self.cpu(name, load), self.floor(load))

    def over_nginx(self, name, load):
        """Handshakes, or requests, per CPU second over those of nginx's better mode, or of the one that counts."""
        better = self.better_nginx(load.name, lambda run: run["server_cpu_us"], load.rivals)
        return ratios(self.cpu(better, load), self.cpu(name, load)) if better else Figure([])

    def latency(self, name, percentile):
        """In milliseconds, by round, at the rate that all have."""
        return self.of(name, "latency", lambda run: run["handshake_us"][percentile] / 1000)

    def latency_over_nginx(self, percentile):
        better = self.better_nginx("latency", lambda run: run["handshake_us"][percentile])
        return ratios(self.latency("ktlsd", percentile), self.latency(better, percentile)) if better else Figure([])

    def curve(self, curve, name):
        """Pairs of x and y."""
        return sorted((x, y) for c, n, x, y in self.points if (c, n) == (curve, name))

    def summary(self):
        """All figures by their keys, in the order of the summary."""
        found = {}
        for load in self.loads:
            if load.floor == load.name:
                found["cpu_us_floor" + ("" if load.name == "full" else f"_{load.name}")] = Figure(self.floor(load).values())
            if load.floor:
                found[load.over_floor] = self.over_floor("ktlsd", load)
            for name, prefix in COMPARED.items():
                found[prefix + load.ratio] = self.over_nginx(name, load)
            for contender in self.took_part(load.name):
                found[f"cpu_us_{contender.key}_{load.cpu}"] = Figure(self.cpu(contender.name, load).values())
            if load.name == "full":
                found["two_workers_cpu_vs_one"] = ratios(self.cpu("ktlsd-2", load), self.cpu("ktlsd", load))
        for percentile in ("p50", "p99"):
            found[f"latency_{percentile}_vs_nginx"] = self.latency_over_nginx(percentile)
            for contender in self.took_part("latency"):
                found[f"latency_ms_{percentile}_{contender.key}"] = Figure(self.latency(contender.name, percentile).values())
        for x, y in self.curve("idle_agent_kb", "ktlsd"):
            found[f"agent_memory_growth_kb_{x:.0f}_idle"] = Figure([y])
        for key, *_ in self.samples:
            values = [(float(value), text) for other, value, text in self.samples if other == key]
            found[key] = Figure([value for value, _ in values], values[-1][1])
        return {key: figure for key, figure in found.items() if figure.known}
