#!/usr/bin/env python3
"""What waking from zero adds to the first token, by what was kept: nothing, a template, a template and a spare.

Per contestant and round: one call from zero and one warm call, each with a prompt of the same length that no cache
has seen; the cold overhead is the difference of the two times to first token. Contestants: glowplug started by exec,
forked from its template, handed a spare; llama-server executed for the call; llama-server asleep
(--sleep-idle-seconds, the process stays and loads the model again). Ours run --rounds times, the peers, which take
about a second each, --peer-rounds times, all interleaved. Bytes held while at zero are measured (private
memory, and the mapped model file once) and printed beside each. --plot FILE draws the table.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from common import first_content_seconds, model_file, report
from contestants import contestants, measure, overheads, unseen


def ask(url: str, started: float | None = None) -> float:
    return first_content_seconds(url, unseen(2), started=started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--peer-rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    model = model_file(options.model)
    model.read_bytes()  # into the page cache
    with contestants(model, options.threads) as all_:
        results = overheads(measure(all_, ask, options.rounds, options.peer_rounds))
    base = results["glowplug, from its template"]["overhead_ms"]["median"]
    lines = [
        f"{name}: +{row['overhead_ms']['median']:.1f} ms (p99 {row['overhead_ms']['p99']:.0f}, n "
        f"{row['overhead_ms']['n']}), first token {row['cold_ms']['median']:.0f} against "
        f"{row['warm_ms']['median']:.0f} warm, {row['held_bytes'] / 1e6:.0f} MB held at zero, "
        f"{row['overhead_ms']['median'] / base:.1f} × the template's"
        for name, row in results.items()
    ]
    report(
        "cold_overhead",
        "\n  ".join(["what waking adds to the first token", *lines]),
        {"unit": "ms", "model": model.name, "threads": options.threads, "results": results},
    )
    if options.plot:
        draw(results, options.plot, f"model file of {model.stat().st_size / 1e6:.0f} MB")


def draw(results: dict[str, dict], file: Path, title: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(results)
    values = [results[name]["overhead_ms"]["median"] for name in names]
    figure, axes = pyplot.subplots(figsize=(8, 2.8), layout="constrained")
    colours = ["#c2410c" if name.startswith("glowplug") else "#94a3b8" for name in names]
    bars = axes.barh(names, [max(value, 0.1) for value in values], color=colours)
    labels = [
        f" {value:.1f} ms, {results[name]['held_bytes'] / 1e6:.0f} MB held"
        for name, value in zip(names, values, strict=True)
    ]
    axes.bar_label(bars, labels, fontsize=9)
    axes.set_xscale("log")
    axes.set_xlim(0.1, max(values) * 30)
    axes.invert_yaxis()
    axes.set_xlabel("added to the first token by waking from zero, ms (log scale, medians)")
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    main()
