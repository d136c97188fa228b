"""Epochs and time to an accuracy, beside PyTorch and scikit-learn's MLPClassifier.

Every contestant is a process of its own. They take turns, a part of an epoch each, on the same
rows in the same order, and are tested in between; only training is timed. So their ratios hold
even where the machine's speed drifts. Ratios are printed against this library; above 1 it is
the faster. Without MNIST (see ../_data.py) deformed digits stand in. PyTorch is needed only to
be compared with: ``pip install torch``.

    python benchmarks/peers/compare.py --threads 2
    python benchmarks/peers/compare.py --hidden 1000 --target 0.975
    python benchmarks/peers/compare.py --hidden 4000 4000 4000 --share 0.0125 --n-train 6000
"""

import argparse
import csv
import os
import sys
import tempfile
import time
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from _peers import PEERS

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from _data import load_images  # noqa: E402

# Tests an epoch: how finely the time to an accuracy is known.
PARTS = 6
TEST_ROWS = 10_000
# Seconds between turns: threads of OpenMP and OpenBLAS spin a while after the last.
REST = 0.3
COLUMNS = ("peer", "setting", "hidden", "share", "threads", "seed", "epoch", "seconds",
           "test_accuracy", "data", "rows")


def contestant(connection, folder, peer, setting, context):
    """A process: trains on the rows it is told of, answers with seconds and accuracy."""
    X, y, X_test, y_test = (
        np.load(Path(folder) / f"{name}.npy", mmap_mode="c")
        for name in ("X_train", "y_train", "X_test", "y_test")
    )
    net = PEERS[peer](**context, **setting)
    connection.send("ready")
    while (rows := received(connection)) is not None:
        part, labels = X[rows], y[rows]
        started = time.perf_counter()
        net.train(part, labels)
        seconds = time.perf_counter() - started
        connection.send((seconds, float(np.mean(net.predict(X_test) == y_test))))


def received(connection):
    """The next message, None if the other side is gone."""
    try:
        return connection.recv()
    except EOFError:
        return None


class Contest:
    """Processes that take turns.

    Parameters
    ----------
    names : list of (str, dict)
        Peers and their settings.
    folder : str
        Where the arrays lie.
    context : dict
        What all peers get.
    """

    def __init__(self, names, folder, context):
        spawn = get_context("spawn")  # each sets up threads of its own
        self.names, self.processes, self.connections = names, [], []
        for peer, setting in names:
            ours, theirs = spawn.Pipe()
            # Not a daemon: joblib would grant it one thread.
            process = spawn.Process(
                target=contestant, args=(theirs, folder, peer, setting, context)
            )
            process.start()
            theirs.close()
            self.processes.append(process)
            self.connections.append(ours)
        # Whoever trains first must not share the machine with the imports of the others.
        for connection in self.connections:
            connection.recv()

    def turn(self, rows):
        """Let all train on the rows, one after the other: seconds and accuracies."""
        outcomes = []
        for connection in self.connections:
            time.sleep(REST)
            connection.send(rows)
            outcomes.append(connection.recv())
        return np.array(outcomes).T

    def end(self):
        """Let all go, also where one is gone before."""
        for connection, process in zip(self.connections, self.processes, strict=True):
            with suppress(OSError):
                connection.send(None)
            process.join()


def race(args, names, folder, n_rows, seed):
    """Seconds and accuracies of every part: two arrays (epochs, PARTS, contestants)."""
    context = {
        "hidden": tuple(args.hidden), "share": args.share, "threads": args.threads, "seed": seed,
    }
    contest, rng = Contest(names, folder, context), np.random.default_rng(seed)
    outcomes = []
    try:
        for epoch in range(args.epochs):
            parts = np.array_split(rng.permutation(n_rows), PARTS)
            outcomes.append([contest.turn(rows) for rows in parts])
            seconds, accuracies = np.array(outcomes[-1]).transpose(1, 0, 2)
            print(f"seed {seed}, epoch {epoch + 1}: " + ", ".join(
                f"{label(*name)} {s:.2f} s {a:.4f}"
                for name, s, a in zip(names, seconds.sum(axis=0), accuracies[-1], strict=True)
            ), flush=True)
    finally:
        contest.end()
    return np.array(outcomes).transpose(2, 0, 1, 3)


def label(peer, setting):
    return " ".join([peer, *(f"{value:g}" if isinstance(value, float) else str(value)
                             for value in setting.values())])


def time_to(target, seconds, accuracies):
    """Training seconds until a test first reached the target, infinite if none did."""
    passed = np.cumsum(seconds.reshape(-1, seconds.shape[-1]), axis=0)
    reached = accuracies.reshape(passed.shape) >= target
    return np.where(
        reached.any(axis=0), passed[reached.argmax(axis=0), np.arange(passed.shape[1])], np.inf
    )


def report(args, names, races, n_rows):
    """A Markdown table: medians over epochs and seeds; ratios within each seed."""
    columns = ["", "us an example", "ratio", "test accuracy",
               f"s to {args.target:g}", "ratio"]
    print("\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    epochs = np.array([np.median(seconds.sum(axis=1), axis=0) for seconds, _ in races])
    times = np.array([time_to(args.target, *one) for one in races])
    accuracy = np.mean([accuracies[-1, -1] for _, accuracies in races], axis=0)
    with np.errstate(invalid="ignore"):
        ratios = [np.median(x / x[:, :1], axis=0) for x in (epochs, times)]
    for i, name in enumerate(names):
        print(f"| {label(*name)} | {np.median(epochs[:, i]) / n_rows * 1e6:.1f} | "
              f"{ratios[0][i]:.2f} | {accuracy[i]:.4f} | {np.median(times[:, i]):.2f} | "
              f"{ratios[1][i]:.2f} |")


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", type=int, nargs="+", default=[1000, 1000, 1000])
    parser.add_argument("--share", type=float, default=0.05, help="active nodes of lsh")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--n-train", type=int, help="training images; all by default")
    parser.add_argument("--target", type=float, default=0.975, help="test accuracy to reach")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--batches", type=int, nargs="+", help="of PyTorch; all by default")
    parser.add_argument("--csv", default="peers.csv", help="one line an epoch")
    return parser.parse_args()


def main():
    args = arguments()
    data, *arrays = load_images(args.n_train, TEST_ROWS)
    names = [
        (peer, setting)
        for peer in dict.fromkeys(["lsh", *args.peers])
        for setting in PEERS[peer].SETTINGS
        if not args.batches or setting.get("batch", args.batches[0]) in args.batches
    ]
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    print(f"{data}: {len(arrays[0])} training rows, hidden layers {args.hidden}, "
          f"{args.threads} threads")
    races = []
    with tempfile.TemporaryDirectory() as folder, open(args.csv, "w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        for name, array in zip(("X_train", "y_train", "X_test", "y_test"), arrays, strict=True):
            whole = np.asarray(array, np.int64 if name.startswith("y") else np.float32)
            np.save(Path(folder) / f"{name}.npy", whole)
        for seed in args.seeds:
            races.append(race(args, names, folder, len(arrays[0]), seed))
            seconds, accuracies = races[-1]
            for epoch in range(args.epochs):
                for i, (peer, setting) in enumerate(names):
                    lines.writerow(
                        [peer, label("", setting).strip(), " ".join(map(str, args.hidden)),
                         args.share if peer == "lsh" else 1, args.threads, seed, epoch + 1,
                         f"{seconds[epoch, :, i].sum():.3f}", f"{accuracies[epoch, -1, i]:.4f}",
                         data, len(arrays[0])]
                    )
            file.flush()
    report(args, names, races, len(arrays[0]))


if __name__ == "__main__":
    main()
