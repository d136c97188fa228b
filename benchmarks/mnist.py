"""Train several configurations side by side on MNIST and compare them.

The configurations take turns, one epoch each, on one thread, so that their seconds can be
compared even where the machine's speed drifts. Without MNIST (see _data.py) deformed digits
stand in.

    python benchmarks/mnist.py --table foundation
    python benchmarks/mnist.py --vary selection=lsh,all --set solver=sgd --epochs 3
    python benchmarks/mnist.py --vary hash_tables=8,16,32 --set hash_search=tables
"""

import argparse
import csv
from itertools import product

import numpy as np
from _command_line import assigned, parameters, value
from _data import load_images

from sklearn_lsh import LSHMLPClassifier
from sklearn_lsh.inspection import active_set_recall

PAPER_HASHING = {"hash_search": "tables", "hash_bits": 6, "hash_tables": 5, "hash_probes": 10}

# Named tables: what all their configurations share, and what varies.
TABLES = {
    "foundation": ({}, {"selection": ["lsh", "winner_take_all", "all"]}),
    "adagrad": (
        {"solver": "adagrad", "momentum": 0.5},
        {"selection": ["lsh", "winner_take_all", "all"]},
    ),
    "tables": ({}, {"hash_search": ["tables", "scan"]}),
    "rankings": (
        PAPER_HASHING,
        {
            "hash_family": ["simple_lsh", "subspace"],
            "hash_ranking": ["union", "collisions", "cascade"],
        },
    ),
    "selections": (
        {},
        {"selection": ["lsh", "winner_take_all", "dropout", "adaptive_dropout", "all"]},
    ),
    "solvers": ({}, {"solver": ["rowwise_adagrad", "adagrad", "sgd"]}),
}
RECALL_ROWS = 1000
CANDIDATE_ROWS = 200


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", choices=TABLES, help="a named set of configurations")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE",
                        help="estimator parameters of every configuration")
    parser.add_argument("--vary", nargs="*", default=[], metavar="NAME=V1,V2",
                        help="parameters to combine in all ways")
    parser.add_argument("--hidden", type=int, nargs="*", default=[1000])
    parser.add_argument("--active-fraction", type=float, default=0.05)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--n-train", type=int, help="training images; all by default")
    parser.add_argument("--csv", default="mnist.csv", help="one line per epoch")
    return parser.parse_args()


def configurations(args):
    """Names and estimators."""
    common, varied = TABLES[args.table] if args.table else ({}, {})
    common = common | parameters(args.set)
    varied = varied | {
        name: [value(v) for v in values.split(",")]
        for name, values in assigned(args.vary).items()
    }
    for seed in args.seeds:
        for values in product(*varied.values()):
            chosen = dict(zip(varied, values, strict=True))
            estimator = LSHMLPClassifier(
                tuple(args.hidden), active_fraction=args.active_fraction, random_state=seed,
                **common | chosen,
            )
            yield ", ".join(map(str, values)) or "default", estimator


def candidates(clf, X):
    """Mean number of nodes met in the buckets of the first hidden layer, None without."""
    selector = clf._network.hidden_layers[0].selector
    if getattr(selector, "index", None) is None or selector.exhaustive:
        return None
    return np.mean([len(selector.retrieve(row)[0]) for row in X])


def main():
    args = arguments()
    data, X, y, X_test, y_test = load_images(args.n_train)
    runs = list(configurations(args))
    classes = np.unique(y)
    accuracy = [[] for _ in runs]
    print(f"{data}: {len(X)} training, {len(X_test)} test images, hidden layers {args.hidden}, "
          f"{args.active_fraction:.1%} active, one thread")
    with open(args.csv, "w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(
            ["configuration", "seed", "epoch", "loss", "test_accuracy", "multiplications",
             "seconds"]
        )
        for epoch in range(args.epochs):
            for (name, clf), scores in zip(runs, accuracy, strict=True):
                clf.partial_fit(X, y, classes=classes)
                scores.append(clf.score(X_test, y_test))
                history = clf.history_
                lines.writerow(
                    [name, clf.random_state, epoch + 1]
                    + [f"{history['loss'][-1]:.6f}", f"{scores[-1]:.4f}"]
                    + [f"{history[key][-1]:.5f}" for key in ("multiplications", "seconds")]
                )
                file.flush()
            print(f"epoch {epoch + 1}: " + ", ".join(f"{scores[-1]:.4f}" for scores in accuracy))
    report(runs, accuracy, X_test[:RECALL_ROWS])
    print(f"\nper epoch: {args.csv}")


def report(runs, accuracy, X):
    """One row a configuration, as a Markdown table."""
    columns = ["configuration", "seed", "test accuracy", "recall", "candidates",
               "multiplications", "s/epoch"]
    print("\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for (name, clf), scores in zip(runs, accuracy, strict=True):
        recall = " ".join(f"{r:.3f}" for r in active_set_recall(clf, X))
        met = candidates(clf, X[:CANDIDATE_ROWS])
        cells = [
            name,
            str(clf.random_state),
            f"{scores[-1]:.4f}",
            recall,
            "-" if met is None else f"{met:.0f}",
            f"{clf.history_['multiplications'].mean():.2%}",
            f"{np.median(clf.history_['seconds']):.2f}",
        ]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
