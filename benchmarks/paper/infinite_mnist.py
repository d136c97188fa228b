"""A million deformed digits streamed through partial_fit (after the paper's MNIST8M).

Each image of the stream is a training image of MNIST, deformed anew, so that none comes twice.
The test set is MNIST's own. Images are made while training goes on; the time that takes is
counted apart.

    python benchmarks/paper/infinite_mnist.py
    python benchmarks/paper/infinite_mnist.py --methods lsh_soft all --examples 2000000
"""

import time

import numpy as np
from _figures import STYLES, error_axis, legend, pyplot, save
from _infinite_mnist import InfiniteMNIST
from _networks import OURS, RECALL_ROWS, network, passed, rows
from _rates import Rates
from _runs import Results, execute, numbers, parse, parser, positive, spaced, to_draw

from sklearn_lsh.inspection import active_set_recall

KEY = ("set", "method", "depth", "share", "seed", "solver", "learning_rate", "width", "examples",
       "chunk", "n_test")
FOUND = ("accuracy", "best_accuracy", "seen", "accuracies", "recall", "multiplications",
         "dead_nodes", "training_seconds", "generating_seconds", "diverged", "title", "rows")


def configurations(args):
    return [
        {
            "set": "mnist", "method": method, "depth": depth,
            "share": 1.0 if method == "all" else share, "seed": seed, "solver": solver,
            "width": args.width, "examples": args.examples, "chunk": args.chunk,
            "n_test": args.n_test,
        }
        for seed in args.seeds
        for solver in args.solvers
        for depth in args.depths
        for method in args.methods
        for share in (args.shares if method != "all" else [1.0])
    ]


def run(config):
    """One pass over the stream, tested every so many examples."""
    data = rows("mnist", "all", config["n_test"])
    stream = InfiniteMNIST(data.X_train, data.y_train, seed=config["seed"])
    clf = network(config)
    classes = np.unique(data.y_train)
    seen, accuracies, diverged = [], [], ""
    generating = 0.0
    for start in range(0, config["examples"], config["chunk"]):
        end = min(start + config["chunk"], config["examples"])
        started = time.perf_counter()
        X, y = stream.batch(end - start)
        generating += time.perf_counter() - started
        if not passed(clf, X, y, classes):
            diverged = end
            break
        seen.append(end)
        accuracies.append(clf.score(data.X_test, data.y_test))
        print(f"  {config['method']}: {end:,} examples, test accuracy {accuracies[-1]:.4f}",
              flush=True)
    found = dict.fromkeys(FOUND, "") | {
        "accuracy": round(accuracies[-1], 5) if accuracies else 0.0,
        "best_accuracy": round(max(accuracies, default=0.0), 5),
        "seen": " ".join(map(str, seen)), "accuracies": spaced(accuracies),
        "generating_seconds": round(generating, 1), "diverged": diverged,
        "title": f"{data.title}, deformed", "rows": config["examples"],
    }
    if accuracies:
        history = clf.history_
        found |= {
            "multiplications": f"{history['multiplications'].mean():.5f}",
            "dead_nodes": " ".join(map(str, history["dead_nodes"][-1])),
            "training_seconds": round(history["seconds"].sum(), 1),
            "recall": spaced(active_set_recall(clf, data.X_test[:RECALL_ROWS])),
        }
    return found


def plot(lines, args):
    lines = to_draw(lines, args, "infinite_mnist.png")
    if not lines:
        return
    plt = pyplot()
    figure, panel = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for line in lines:
        colour, marker, label = STYLES[line["method"]]
        what = f"{float(line['share']):.0%} active, " if line["method"] != "all" else ""
        panel.plot(
            np.array(numbers(line["seen"])) / 1e6,
            100 * (1 - np.array(numbers(line["accuracies"]))), color=colour, marker=marker,
            label=f"{label}: {what}{line['depth']} hidden layers, seed {line['seed']}",
        )
    panel.set(xlabel="examples [million]", ylabel="test error on MNIST [%]")
    error_axis(panel)
    legend(figure, [panel], columns=1)
    save(figure, args.figures, "infinite_mnist.png")
    plt.close(figure)


def main(argv=None):
    options = parser(__doc__, sets=None, methods=[OURS], depths=[2], shares=[0.05], epochs=None,
                     n_train=None)
    options.add_argument("--examples", type=positive, default=1_000_000)
    options.add_argument("--chunk", type=positive, default=50_000,
                         help="examples of a call to partial_fit; tested after each")
    args = parse(options, argv)
    results = Results(args.results / "infinite_mnist.csv", KEY, FOUND)
    if not args.plot_only:
        execute(results, Rates(args).given(configurations(args)), run, args)
    plot(list(results.lines.values()), args)


if __name__ == "__main__":
    main()
