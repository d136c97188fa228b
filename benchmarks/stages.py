"""Where the time of training goes: microseconds an example, by layer and stage.

After a few epochs of warming up, further epochs are timed, stage by stage, by the clocks that
``history_["stage_seconds"]`` comes from; medians are printed. "looks" is what remains of an
epoch: renewing hash functions, Python, and waiting for other threads.

"floor" is what the cache lines of weights that a stage must read (forward, backward) or read and
write (update) take at least: their number, times the time of a line in a pass over a buffer
that fits the second-level cache, timed here. For one thread. Without MNIST (see _data.py)
deformed digits stand in.

    python benchmarks/stages.py
    python benchmarks/stages.py --hidden 4000 4000 4000 --active-fraction 0.0125
    python benchmarks/stages.py --hidden 1000 --set solver=adagrad n_jobs=2
"""

import argparse
import time

import numpy as np
from _command_line import parameters
from _data import load_images

from sklearn_lsh import LSHMLPClassifier
from sklearn_lsh._data import as_rows
from sklearn_lsh._renewal import layer_inputs
from sklearn_lsh.core import kernels
from sklearn_lsh.core.engine import STAGES
from sklearn_lsh.core.weights import ByInput

LINE = 16  # floats
SAMPLE = 500


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", type=int, nargs="*", default=[1000, 1000, 1000])
    parser.add_argument("--active-fraction", type=float, default=0.05)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE",
                        help="further estimator parameters")
    parser.add_argument("--n-train", type=int, help="training images; all by default")
    parser.add_argument("--warm-up", type=int, default=2, help="epochs before those timed")
    parser.add_argument("--epochs", type=int, default=5, help="epochs timed")
    return parser.parse_args()


def lines_of_an_example(clf, X):
    """Cache lines of weights per layer that forward reads, backward reads, and update writes.

    By node, those of one row that hold the input, times candidates or active nodes. By input,
    forward reads whole rows of busy nodes; the lines that update touches are about as many.
    """
    network, sample = clf._network, np.arange(min(SAMPLE, len(X)))
    rows, workspaces = as_rows(X), network.engine.workspaces(1)
    found = []
    for index, layer in enumerate(network.engine.layers):
        inputs = layer_inputs(network, index, rows, sample, workspaces)
        per_row = np.mean([
            len(np.unique(inputs.indices[start:stop] // LINE))
            for start, stop in zip(inputs.indptr, inputs.indptr[1:], strict=False)
        ])
        n_active = layer.selector.n_active
        listed = getattr(layer.selector, "short_list", n_active)
        read = per_row * listed
        if isinstance(layer.store, ByInput):
            read = np.diff(inputs.indptr).mean() * layer.selector.n_busy / LINE
        found.append((read, per_row * n_active * (index > 0), per_row * n_active))
    return np.array(found)


def seconds_a_line(n_rows=1024, n_lines=8, repeats=200):
    """Of reading, and of reading and writing, a line that lies in the second-level cache."""
    w = np.ones((n_rows, n_lines * LINE), np.float32)
    run = np.arange(0, n_lines * LINE, kernels.RUN_LENGTH, dtype=np.int32)
    x = np.ones((len(run), kernels.RUN_LENGTH), np.float32)
    out, best = np.empty(n_rows, np.float32), np.full(2, np.inf)
    for _ in range(repeats):
        started = time.perf_counter()
        kernels.run_dots(w, None, run, x, out)
        read = time.perf_counter()
        kernels.axpy(0.0, None, w.reshape(-1), w.reshape(-1))
        best = np.minimum(best, [read - started, time.perf_counter() - read])
    return best / (n_rows * n_lines)


def main():
    args = arguments()
    name, X, y, X_test, y_test = load_images(args.n_train)
    params = {"active_fraction": args.active_fraction, "random_state": 0}
    params |= parameters(args.set)
    clf = LSHMLPClassifier(tuple(args.hidden), **params)
    for _ in range(args.warm_up + args.epochs):
        clf.partial_fit(X, y, classes=np.unique(y))
    history = {k: v[args.warm_up :] for k, v in clf.history_.items()}
    epochs, stages = history["seconds"], history["stage_seconds"]
    table = np.median(stages, axis=0) / clf._n_threads() / len(X) * 1e6
    total = np.median(epochs) / len(X) * 1e6
    spread = (epochs.max() - epochs.min()) / np.median(epochs)

    print(f"{name}, {len(X)} examples an epoch, hidden layers {args.hidden}, {params}")
    print(f"test accuracy {clf.score(X_test, y_test):.4f}, multiplications "
          f"{history['multiplications'][-1]:.4f}; microseconds an example:\n")
    print("layer   " + "".join(f"{stage:>10}" for stage in STAGES) + f"{'sum':>10}")
    for number, row in enumerate(table, 1):
        layer = f"{number}" if number < len(table) else "output"
        print(f"{layer:8}" + "".join(f"{x:10.2f}" for x in [*row, row.sum()]))
    print(f"{'all':8}" + "".join(f"{x:10.2f}" for x in [*table.sum(axis=0), table.sum()]))
    read, written = seconds_a_line()
    floor = lines_of_an_example(clf, X).sum(axis=0) * [read, read, written] * 1e6
    print(f"{'floor':8}{'':10}" + "".join(f"{x:10.2f}" for x in floor))
    print(f"{'looks':8}{total - table.sum():50.2f}")
    print(f"{'epoch':8}{total:50.2f}   (spread of {len(epochs)} epochs: {100 * spread:.0f} %)")


if __name__ == "__main__":
    main()
