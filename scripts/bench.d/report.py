#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""report.py RESULTS OUT: from what the parts of the bench left in RESULTS makes OUT/summary.tsv, OUT/result.json and
OUT/index.html, and prints tables. figures.py says how a figure comes about.
"""
import json
import pathlib
import sys

import figures
import page
import text


def main():
    results, out = figures.Results(sys.argv[1]), pathlib.Path(sys.argv[2])
    summary = results.summary()
    (out / "summary.tsv").write_text("".join(f"{key}\t{f.median:.4g}\t{f.low:.4g}\t{f.high:.4g}\n" for key, f in summary.items()))
    (out / "result.json").write_text(json.dumps({
        "machine": results.machine,
        "figures": {key: figure.json() for key, figure in summary.items()},
        "goals": [{"key": goal.key, "goal": goal.limit_text, "verdict": goal.verdict(summary.get(goal.key))} for goal in figures.goals()],
        "runs": results.runs,
        "points": results.points,
        "lost": results.lost,
    }, indent=1) + "\n")
    text.report(results, summary)
    (out / "index.html").write_text(page.page(results, summary))


main()
