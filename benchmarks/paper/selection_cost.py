"""What it costs to select 64 nodes, against the width of the layer (the design's 1.2b).

Networks with one hidden layer of 1,000 to 256,000 nodes, trained by the default. Their weights
are then searched in every way there is: all exact activations, a scan of the sketches, cells,
hash tables, and what the default chose by itself. Time is that of a prediction, which is
selecting but for a few per cent. A scan of sketches in eight bits is timed beside the library's
as a loop in C, where there is a compiler, and its recall computed in NumPy: it is not in the
library.

    python benchmarks/paper/selection_cost.py
"""

import ctypes
import shutil
import subprocess
import tempfile
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
from _figures import pyplot, save
from _networks import OURS, network, passed, rows
from _runs import Results, execute, parse, parser, positive, to_draw
from theory import Rehashed

from sklearn_lsh._data import as_rows
from sklearn_lsh.core.answers import Probabilities
from sklearn_lsh.core.optimizers import SOLVERS
from sklearn_lsh.inspection import active_set_recall

ACTIVE = 64
WIDTHS = (1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 256_000)
EPOCHS = 2
TEST_ROWS, RECALL_ROWS, REPEATS = 1000, 200, 5
SEARCHES = {
    "exact": ("all exact activations", "#000000", "s"),
    "scan": ("scan of the sketches", "#0072B2", "^"),
    "scan_int8": ("scan of eight-bit sketches", "#56B4E9", "v"),
    "tables": ("hash tables", "#CC79A7", "D"),
    "cells": ("cells", "#009E73", "P"),
    "default": ("what the default chose", "#D55E00", "o"),
}
KEY = ("width", "search", "set", "seed", "n_train", "active")
FOUND = ("recall", "multiplications", "microseconds", "searched_by", "sketch", "short_list",
         "accuracy", "title")
# Sums of products of 16 numbers: one sketch in one cache line as floats, in a quarter as bytes.
SCANS = """
#include <stdint.h>
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
#define CLONES __attribute__((target_clones("avx2", "default")))
#else
#define CLONES
#endif
CLONES void floats(const float *rows, int n, int d, const float *q, float *out) {
    for (int j = 0; j < n; j++) {
        float s = 0;
        for (int t = 0; t < d; t++) s += rows[(int64_t) j * d + t] * q[t];
        out[j] = s;
    }
}
CLONES void bytes(const int8_t *rows, int n, int d, const int8_t *q, int32_t *out) {
    for (int j = 0; j < n; j++) {
        int32_t s = 0;
        for (int t = 0; t < d; t++) s += rows[(int64_t) j * d + t] * q[t];
        out[j] = s;
    }
}
"""


@lru_cache(1)
def trained_network(width, name, seed, n_train):
    """A network trained by the default, and its data."""
    data, solver = rows(name, n_train, TEST_ROWS), "rowwise_adagrad"
    clf = network({
        "width": width, "depth": 1, "method": OURS, "share": ACTIVE, "solver": solver,
        "learning_rate": SOLVERS[solver].auto_learning_rate, "seed": seed,
    })
    for _ in range(EPOCHS):
        passed(clf, data.X_train, data.y_train, np.unique(data.y_train))
    return clf, data


def run(config):
    """Recall, multiplications and time of one way to search one layer."""
    clf, data = trained_network(
        config["width"], config["set"], config["seed"], config["n_train"]
    )
    search = config["search"]
    searched = clf if search == "default" else searching(clf, data, search.removesuffix("_int8"))
    selector = searched._network.hidden_layers[0].selector
    found = {
        "recall": f"{active_set_recall(searched, data.X_test[:RECALL_ROWS])[0]:.4f}",
        **cost(searched, data.X_test),
        "searched_by": "exact" if search == "exact" else searched.hash_search_[0],
        "sketch": selector.family.dim, "short_list": selector.short_list,
        "accuracy": clf.score(data.X_test, data.y_test), "title": data.title,
    }
    if search == "scan_int8":
        found |= in_bytes(searched, data, found)
    return found


def searching(clf, data, search):
    """A network with clf's weights that searches in another way."""
    other = Rehashed(
        clf.hidden_layer_sizes, active_fraction=ACTIVE, random_state=clf.random_state,
        hash_search="scan" if search == "exact" else search,
        learning_rate_init=1e-30,  # the first pass hashes the nodes and leaves them as they are
    )
    other.given = clf.coefs_, clf.intercepts_
    other.partial_fit(data.X_train[:400], data.y_train[:400], classes=clf.classes_)
    here, there = (net._network.state["layers"][0]["threshold"] for net in (other, clf))
    here[:] = there
    if search == "exact":
        other.inference = "exact"
    return other


def cost(clf, X):
    """Multiplications a row that selecting takes, and microseconds of a prediction."""
    net, test = clf._network, as_rows(X)
    out = np.zeros((len(X), len(clf.classes_)))
    spaces = net.engine.workspaces(1, inference=clf.inference)
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        net.engine.predict(test, 0, len(X), Probabilities(out), spaces)
        seconds.append(time.perf_counter() - started)
    total = net.engine.totals(spaces)["multiplications"] / REPEATS / len(X)
    output = ACTIVE * len(clf.classes_)
    return {
        "multiplications": round(total - output),
        "microseconds": f"{1e6 * np.median(seconds) / len(X):.2f}",
    }


def in_bytes(clf, data, scan):
    """The scan of eight-bit sketches: its recall, and its time as far as it differs."""
    state = clf._network.state["layers"][0]
    hashing = state["hashing"]
    family, sketches = hashing["family"], hashing["sketches"]
    if hashing["search"] == "cells":
        sketches = sketches[hashing["index"]["place"]]
    X = data.X_test[:RECALL_ROWS]
    queries = X @ family["matrix"] + family["intercept_row"]
    queries = (family["query_gain"] * queries + family["query_offset"]).astype(np.float32)
    # One scale for all: what is far below the longest row is zero, and not selected.
    small = np.rint(sketches * (127 / np.abs(sketches).max())).astype(np.int8)
    small_queries = np.rint(queries * (127 / np.abs(queries).max(axis=1, keepdims=True)))
    listed = scan["short_list"]
    hits = 0
    for x, q in zip(X, small_queries, strict=True):
        z = state["weights"] @ x + state["intercepts"]
        top = np.argpartition(-z, ACTIVE)[:ACTIVE]
        best = np.argpartition(-(small.astype(np.float32) @ q.astype(np.float32)), listed)
        hits += np.isin(top, best[:listed]).sum()
    found = {"recall": f"{hits / len(X) / ACTIVE:.4f}", "microseconds": ""}
    times = scan_times(sketches, queries, small, small_queries.astype(np.int8))
    if times:
        gained = times["floats"] - times["bytes"]
        found["microseconds"] = f"{max(0, float(scan['microseconds']) - gained):.2f}"
    return found


def scan_times(rows_, queries, small, small_queries):
    """Microseconds of a scan in floats and in bytes, by the same loop in C; {} without cc."""
    compiler = shutil.which("cc")
    if compiler is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "scans.so"
        subprocess.run(
            [compiler, "-O3", "-ffast-math", "-shared", "-fPIC", "-x", "c", "-",
             "-o", str(library)], input=SCANS, text=True, check=True,
        )
        loops = ctypes.CDLL(str(library))
    out, times = np.zeros(len(rows_), np.float32), {}
    for name, table, asked in (("floats", rows_, queries), ("bytes", small, small_queries)):
        seconds = []
        for q in asked[:50]:
            q = np.ascontiguousarray(q)
            started = time.perf_counter()
            getattr(loops, name)(
                *(ctypes.c_void_p(table.ctypes.data), len(table), table.shape[1]),
                ctypes.c_void_p(q.ctypes.data), ctypes.c_void_p(out.ctypes.data),
            )
            seconds.append(time.perf_counter() - started)
        times[name] = 1e6 * np.median(seconds)
    return times


def plot(lines, args):
    lines = to_draw(lines, args, "selection_cost.png")
    if not lines:
        return
    plt = pyplot()
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for search, (label, colour, marker) in SEARCHES.items():
        chosen = [line for line in lines if line["search"] == search]
        for panel, name in zip(panels, ("multiplications", "microseconds", "recall"), strict=True):
            points = sorted((int(li["width"]), float(li[name])) for li in chosen if li[name])
            if points:
                panel.plot(*zip(*points, strict=True), color=colour, marker=marker, label=label)
    for panel, name in zip(panels, ("multiplications a row", "microseconds a row", "recall"),
                           strict=True):
        panel.set(xlabel="nodes of the layer", ylabel=name, xscale="log")
    panels[0].set_yscale("log")
    panels[1].set_yscale("log")
    panels[2].axhline(0.9, color="grey", linewidth=0.8, linestyle=":")
    panels[0].legend(fontsize=7)
    save(figure, args.figures, "selection_cost.png")
    plt.close(figure)


def main(argv=None):
    options = parser(__doc__, sets=["mnist"], methods=None, depths=None, shares=None,
                     solvers=None, epochs=None, n_train=20_000, width=None, n_test=None)
    options.add_argument("--widths", type=positive, nargs="+", default=list(WIDTHS))
    args = parse(options, argv)
    results = Results(args.results / "selection_cost.csv", KEY, FOUND)
    if not args.plot_only:
        configs = [
            {"width": width, "search": search, "set": name, "seed": seed,
             "n_train": args.n_train, "active": ACTIVE}
            for name in args.sets for seed in args.seeds for width in args.widths
            for search in SEARCHES
        ]
        execute(results, configs, run, args, cost=lambda config: config["width"])
    plot(list(results.lines.values()), args)


if __name__ == "__main__":
    main()
