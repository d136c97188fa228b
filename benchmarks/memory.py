"""Peak memory of a fit over that of the data, in bytes a weight.

One process loads the data, another also trains; their peaks are compared.

    python benchmarks/memory.py --hidden 10000 --solver adagrad
"""

import argparse
import resource
import subprocess
import sys

import numpy as np

from sklearn_lsh import LSHMLPClassifier

N_FEATURES, N_CLASSES = 784, 10


def peak(hidden, solver, selection, n_samples, train):
    """Run in a process of its own: the largest resident set, in bytes."""
    rng = np.random.default_rng(0)
    X = rng.random((n_samples, N_FEATURES), dtype=np.float32)
    y = rng.integers(N_CLASSES, size=n_samples)
    # Imports and one small fit belong to the baseline: they cost the same at any size.
    LSHMLPClassifier((8,), selection=selection).partial_fit(X[:64], y[:64], range(N_CLASSES))
    if train:
        clf = LSHMLPClassifier(
            hidden, active_fraction=0.05, solver=solver, selection=selection, random_state=0
        )
        clf.partial_fit(X, y, classes=range(N_CLASSES))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measured(arguments, train):
    """``peak`` from a fresh process."""
    command = [sys.executable, __file__, *arguments, "--child", "fit" if train else "data"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, nargs="*", default=[4000])
    parser.add_argument("--solver", default="rowwise_adagrad")
    parser.add_argument("--selection", default="lsh")
    parser.add_argument("--n-samples", type=int, default=2000)
    parser.add_argument("--child", choices=["fit", "data"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(peak(args.hidden, args.solver, args.selection, args.n_samples, args.child == "fit"))
        return
    sizes = [N_FEATURES, *args.hidden, N_CLASSES]
    n_weights = sum(a * b for a, b in zip(sizes, sizes[1:], strict=False))
    more = measured(sys.argv[1:], train=True) - measured(sys.argv[1:], train=False)
    print(f"hidden layers {args.hidden}, {args.solver}, {args.selection}: {n_weights:,} weights")
    print(f"peak over the data {more / 2**20:.1f} MiB, {more / n_weights:.1f} bytes a weight")


if __name__ == "__main__":
    main()
