"""Speed with threads, and how often threads would update the same weights (figure 7).

Seconds an epoch are measured with as many threads as the machine has cores. Overlap is measured
on trained networks: of the nodes that one example updates, the share that at least one of the
others in flight updates too. What 56 threads would do is extrapolated from the two, and
labelled so.

    python benchmarks/paper/scalability.py
    python benchmarks/paper/scalability.py --widths 1000 --shares 0.05 --max-threads 2
"""

import os
from itertools import product

import numpy as np
from _figures import STYLES, not_run, pyplot, save, shades
from _networks import OURS, network, passed, rows
from _rates import Rates
from _runs import Results, cores, execute, fullest, numbers, parse, parser, positive, spaced
from scipy.sparse import csr_matrix

from sklearn_lsh.inspection import active_sets

# Examples in flight that overlap is given for; the paper had 56 threads.
IN_FLIGHT = (1, 2, 4, 8, 16, 32, 56)
OVERLAP_ROWS = 5000
SHARED_KEY = ("set", "method", "depth", "width", "share", "seed", "solver", "learning_rate",
              "epochs", "n_train")
TIMES_KEY = (*SHARED_KEY, "threads", "cores")
TIMES = ("seconds", "seconds_by_epoch", "load", "accuracy", "multiplications", "title", "rows")
OVERLAPS = ("in_flight", "nodes", "random_nodes", "weights", "random_weights", "active", "title",
            "rows")


def configurations(args):
    return [
        {
            "set": name, "method": method, "depth": depth, "width": width, "share": share,
            "seed": seed, "solver": solver, "epochs": args.epochs,
            "n_train": args.n_train or "all",
        }
        for seed, solver, name, depth, width, method in product(
            args.seeds, args.solvers, args.sets, args.depths, args.widths, args.methods
        )
        for share in ([1.0] if method == "all" else args.shares)
    ]


def fitted(config, threads=1):
    """A network trained for the configuration's epochs, and its data."""
    clf = network(config | {"workers": threads})
    data = rows(config["set"], config["n_train"], 2000)
    classes = np.unique(data.y_train)
    for _ in range(config["epochs"]):
        if not passed(clf, data.X_train, data.y_train, classes):
            raise ValueError(f"diverged: {config}")
    return clf, data


def run_times(config):
    load = os.getloadavg()[0]  # what else kept the cores busy, over the minute before
    clf, data = fitted(config, config["threads"])
    history = clf.history_
    return {
        # The first epoch pays for memory that is touched for the first time.
        "seconds": f"{np.median(history['seconds'][1:]):.3f}",
        "seconds_by_epoch": spaced(history["seconds"], 3),
        "load": f"{load:.2f}",
        "accuracy": round(clf.score(data.X_test, data.y_test), 4),
        "multiplications": f"{history['multiplications'].mean():.5f}",
        "title": data.title,
        "rows": len(data.X_train),
    }


# ---- overlap -----------------------------------------------------------------------------


def overlap(frequency, n_in_flight):
    """Expected share of one example's updates that one of the others in flight makes too.

    Exact for examples drawn independently: entry j is updated by a share ``frequency[j]`` of
    the examples, so an update of it meets none of the other T - 1 with probability
    ``(1 - frequency[j]) ** (T - 1)``.
    """
    hit = 1 - (1 - frequency) ** (n_in_flight - 1)
    return float((frequency * hit).sum() / frequency.sum())


def random_overlap(share, n_in_flight):
    """The same where every entry is as likely: random sets of this share."""
    return 1 - (1 - share) ** (n_in_flight - 1)


def run_overlap(config):
    """Overlap of nodes, mean over the hidden layers, and of the first layer's weights."""
    clf, data = fitted(config)
    X = data.X_train[:OVERLAP_ROWS]
    sets = [found.astype(np.float32) for found in active_sets(clf, X)]
    nodes = [np.asarray(found.mean(axis=0)).ravel() for found in sets]
    # Weight (j, i) is updated where node j is active and input i is not zero.
    present = csr_matrix(X != 0, dtype=np.float32)
    weights = (sets[0].T @ present).toarray() / len(X)
    share = config["share"]
    return {
        "in_flight": " ".join(map(str, IN_FLIGHT)),
        "nodes": spaced(np.mean([[overlap(f, t) for t in IN_FLIGHT] for f in nodes], axis=0)),
        "random_nodes": spaced(random_overlap(share, t) for t in IN_FLIGHT),
        "weights": spaced(overlap(weights, t) for t in IN_FLIGHT),
        "random_weights": spaced(
            random_overlap(share * present.mean(), t) for t in IN_FLIGHT
        ),
        "active": spaced(f.mean() for f in nodes),
        "title": data.title,
        "rows": len(data.X_train),
    }


# ---- extrapolation -----------------------------------------------------------------------


def extrapolated(threads, seconds, at, overlaps=None):
    """Seconds an epoch with ``at`` threads, from those measured with few. A model, no more.

    One free number ``c >= 0`` is fitted by least squares to the measured
    ``excess = seconds(T) T / seconds(1) - 1``, the work that T threads do beyond one's share.
    Without overlaps ``excess = c (T - 1)``, which is Amdahl's law with a serial share c. With
    them ``excess = c overlap(T)``: work is lost only where updates meet.
    """
    threads, seconds = np.asarray(threads, float), np.asarray(seconds, float)
    excess = seconds * threads / seconds[0] - 1
    grows = (lambda t: t - 1) if overlaps is None else (lambda t: np.interp(t, *overlaps))
    cause = grows(threads)
    c = max(0.0, float(cause @ excess) / max(float(cause @ cause), 1e-12))
    return seconds[0] * (1 + c * grows(np.asarray(at, float))) / np.asarray(at, float)


# ---- figure ------------------------------------------------------------------------------


def plot(times, overlaps, args):
    """Seconds against threads, and overlap against examples in flight."""
    for data in sorted({line["set"] for line in times + overlaps}):
        plt = pyplot()
        figure, (left, middle, right) = plt.subplots(
            1, 3, figsize=(11, 3.4), layout="constrained"
        )
        timed, shared = (fullest([line for line in lines if line["set"] == data], width=None)
                         for lines in (times, overlaps))
        draw_times(left, timed, shared)
        draw_overlaps(middle, shared, "nodes", "nodes of the hidden layers")
        draw_overlaps(right, shared, "weights", "weights of the first layer")
        left.legend(fontsize=6, loc="lower left")
        right.legend(fontsize=6.5)
        save(figure, args.figures, f"scalability_{data}.png")
        plt.close(figure)


def typical(lines):
    """Of each method and width the lines of one network: on the most cores, the smallest share."""
    def size(line):
        return -int(line["cores"]), int(line["depth"]), float(line["share"]), int(line["seed"])

    smallest = {}
    for line in lines:
        key = line["method"], int(line["width"])
        smallest[key] = min(size(line), smallest.get(key, size(line)))
    return {
        key: [line for line in lines
              if (line["method"], int(line["width"])) == key and size(line) == chosen]
        for key, chosen in sorted(smallest.items(), reverse=True)
    }


def draw_times(panel, times, overlaps):
    if not times:
        not_run(panel)
        return
    labelled = set()
    for (method, width), lines in typical(times).items():
        lines = sorted(lines, key=lambda line: int(line["threads"]))
        threads = [int(line["threads"]) for line in lines]
        seconds = [float(line["seconds"]) for line in lines]
        colour, marker, label = STYLES[method]
        marker = (marker or "D") if width <= 1000 else "s"
        panel.plot(threads, seconds, color=colour, marker=marker,
                   label=f"{label}, {width} nodes, {lines[0]['cores']} cores")
        if len(threads) > 1:
            ahead = [t for t in IN_FLIGHT if t >= threads[-1]]
            models = {"extrapolated, Amdahl": (None, ":")}
            known = [line for line in overlaps if all(line[k] == lines[0][k] for k in SHARED_KEY)]
            if known:
                points = numbers(known[0]["in_flight"]), numbers(known[0]["nodes"])
                models["extrapolated, overlap"] = (points, "--")
            for model, (points, style) in models.items():
                panel.plot(ahead, extrapolated(threads, seconds, ahead, points), color=colour,
                           linestyle=style, linewidth=1,
                           label=None if model in labelled else model)
                labelled.add(model)
    panel.set(xscale="log", yscale="log", xlabel="threads", ylabel="seconds an epoch",
              title=f"{times[0]['depth']} hidden layers")
    panel.set_xticks(IN_FLIGHT, [str(t) for t in IN_FLIGHT])
    panel.yaxis.set_major_formatter("{x:g}")
    panel.minorticks_off()


def draw_overlaps(panel, lines, column, what):
    """Measured overlap with a marker, that of random sets of the same size as a thin line."""
    panel.set(title=what, xlabel="examples in flight", ylabel="overlapping updates [%]")
    lines = [line for line in lines if line["method"] != "all"]
    colours = shades(len(lines))
    for line, colour in zip(lines, colours, strict=True):
        label = f"{line['width']} nodes, {float(line['share']):.0%}"
        t = numbers(line["in_flight"])
        panel.plot(t, 100 * np.array(numbers(line[column])), color=colour, marker="o",
                   label=label)
        panel.plot(t, 100 * np.array(numbers(line[f"random_{column}"])), color=colour,
                   linewidth=0.8, linestyle=":")
    panel.plot([], [], color="black", linewidth=0.8, linestyle=":", label="random sets")
    panel.set(xscale="log", ylim=(0, 102))
    panel.set_xticks(IN_FLIGHT, [str(t) for t in IN_FLIGHT])
    panel.minorticks_off()


def main(argv=None):
    options = parser(
        __doc__, sets=["mnist"], methods=[OURS, "all"], depths=[3], shares=[0.05, 0.25],
        epochs=3, n_train=20_000, width=None, n_test=None,
    )
    options.add_argument("--widths", nargs="+", type=positive, default=[1000, 4000])
    options.add_argument("--max-threads", type=positive, default=cores())
    args = parse(options, argv)
    if args.epochs < 2:
        options.error("--epochs 1: only epochs after the first are timed")
    times = Results(args.results / "scalability_times.csv", TIMES_KEY, TIMES)
    overlaps = Results(args.results / "scalability_overlap.csv", SHARED_KEY, OVERLAPS)
    if not args.plot_only:
        rates, configs = Rates(args), configurations(args)
        # Searching in the widest networks would take longer than all the rest.
        narrow = {"width": min(args.widths)}
        rates.search([config | narrow for config in configs])
        configs = [
            config | {"learning_rate": rates.best(config | narrow)} for config in configs
        ]
        timed = [config | {"threads": t, "cores": cores()} for config in configs
                 for t in IN_FLIGHT if t <= args.max_threads]
        args.processes, processes = 1, args.processes  # timing needs the machine to itself
        if execute(times, timed, run_times, args):
            args.processes = processes
            sparse = [config for config in configs if config["method"] != "all"]
            execute(overlaps, sparse, run_overlap, args)
    shown = [[line for line in results.lines.values() if line["method"] in args.methods]
             for results in (times, overlaps)]
    plot(*shown, args)


if __name__ == "__main__":
    main()
