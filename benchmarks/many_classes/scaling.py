"""What an example costs this library as classes grow, on the planted family.

The active classes stay the same in number. Rows are generated as they are needed and not
counted in the seconds. Each size is a process of its own, whose peak memory is told.

    python benchmarks/many_classes/scaling.py
    python benchmarks/many_classes/scaling.py --classes 10000 100000 --passes 5
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import time

import numpy as np
from _sets import Planted

from sklearn_lsh import LSHMLPClassifier
from sklearn_lsh.metrics import precision_at_k

ROWS, BATCH, TEST_ROWS = 200_000, 20_000, 10_000  # of a pass, of a call, of the test
COLUMNS = ("classes", "pass", "us_an_example", "peak_mb", "p1", "bayes")


def passes(n_classes, args):
    """One size: prints a line of JSON after each pass."""
    planted = Planted(n_classes)
    X_test, y_test = planted.batch(TEST_ROWS, 0)
    clf = LSHMLPClassifier((args.hidden,), active_fraction=1.0, output_active=args.active,
                           n_jobs=args.threads, random_state=0)
    number = 0
    for done in range(1, args.passes + 1):
        seconds = 0.0
        for _ in range(0, ROWS, BATCH):
            number += 1
            X, y = planted.batch(BATCH, number)
            started = time.perf_counter()
            clf.partial_fit(X, y, classes=np.arange(n_classes))
            seconds += time.perf_counter() - started
        top, _ = clf.predict_topk(X_test, k=1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps([n_classes, done, round(seconds / ROWS * 1e6, 2),
                          round(peak / (2**20 if sys.platform == "darwin" else 2**10)),
                          precision_at_k(y_test, top, 1), round(planted.bayes, 4)]), flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--classes", type=int, nargs="+", default=[10**4, 10**5, 10**6])
    parser.add_argument("--active", type=int, default=256, help="classes computed a row")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--passes", type=int, default=1, help="of 200,000 new rows each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--csv", default="scaling.csv")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return passes(args.child, args)
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    with open(args.csv, "w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        for n_classes in args.classes:
            command = [sys.executable, *sys.argv, "--child", str(n_classes)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
                for line in child.stdout:
                    lines.writerow(json.loads(line))
                    file.flush()
                    print("| " + " | ".join(map(str, json.loads(line))) + " |", flush=True)
            if child.returncode:
                print(f"{n_classes} classes: failed ({child.returncode})", flush=True)


if __name__ == "__main__":
    main()
