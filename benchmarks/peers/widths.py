"""What width costs: training and predicting with 50 active nodes, from 1,000 nodes to 64,000.

One hidden layer. After a few epochs of warming up the next ones are timed; then batches of test
rows are predicted in turn with PyTorch's dense forward pass of the same shape, where PyTorch is
installed. Medians, in microseconds a row; PyTorch is not trained, which does not change
its time. Without MNIST (see ../_data.py) deformed digits stand in.

    python benchmarks/peers/widths.py
    python benchmarks/peers/widths.py --widths 4000 16000 --threads 2
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from _peers import PyTorch
from sklearn.exceptions import ConvergenceWarning

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from _data import load_images  # noqa: E402

from sklearn_lsh import LSHMLPClassifier  # noqa: E402


def trained(width, args, X, y):
    """An estimator, and its seconds an epoch after warming up."""
    clf = LSHMLPClassifier(
        (width,), active_fraction=args.active, n_jobs=args.threads, random_state=0
    )
    for _ in range(args.warm_up + args.epochs):
        clf.partial_fit(X, y, classes=np.unique(y))
    return clf, np.median(clf.history_["seconds"][args.warm_up :])


def dense(width, args, X, y):
    """PyTorch's network of that width, or None."""
    try:
        net = PyTorch((width,), None, args.threads, 0, "sgd", 512, 0.1)
        net.train(X[:512], y[:512].astype(np.int64))
    except ImportError:
        return None
    return net


def seconds_to_predict(nets, X, repeats):
    """The median of each, taking turns."""
    taken = [[] for _ in nets]
    for _ in range(repeats):
        for net, seconds in zip(nets, taken, strict=True):
            started = time.perf_counter()
            net.predict(X)
            seconds.append(time.perf_counter() - started)
            time.sleep(0.3)  # threads spin a while after the last call
    return [float(np.median(seconds)) for seconds in taken]


def options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", type=int, nargs="+", default=[1000, 4000, 16000, 64000])
    parser.add_argument("--active", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--n-train", type=int, default=20_000)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


def main():
    args = options()
    warnings.simplefilter("ignore", ConvergenceWarning)
    name, X, y, X_test, y_test = load_images(args.n_train)
    print(f"{name}, {len(X)} rows an epoch, {len(X_test)} to predict, {args.active} active, "
          f"{args.threads} threads; microseconds a row")
    print(f"{'width':>7}{'training':>10}{'growth':>8}{'predict':>9}{'PyTorch':>9}{'ratio':>7}"
          f"{'accuracy':>10}")
    first = None
    for width in args.widths:
        clf, epoch = trained(width, args, X, y)
        nets = [net for net in (clf, dense(width, args, X, y)) if net is not None]
        predict, *peer = np.array(seconds_to_predict(nets, X_test, args.repeats)) / len(X_test)
        training = epoch / len(X)
        first = first or training
        beside = "".join(f"{1e6 * p:9.1f}{p / predict:7.1f}" for p in peer) or f"{'-':>9}{'-':>7}"
        print(f"{width:7}{1e6 * training:10.1f}{training / first:8.2f}{1e6 * predict:9.1f}{beside}"
              f"{clf.score(X_test, y_test):10.4f}", flush=True)


if __name__ == "__main__":
    main()
