"""This library beside its peers on problems with many classes or labels.

Each peer is a process of its own, one after the other, on the same rows: precision at 1, 3 and
5, seconds of training, microseconds a row of prediction, peak memory (of the whole process,
imports and data included) and size of the model. Ratios are over the first peer's of the table;
above 1 that one is the faster. Missing libraries are skipped. ``--set`` gives a peer its settings.

    python benchmarks/many_classes/compare.py delicious
    python benchmarks/many_classes/compare.py debian_deps --peers omikuji napkinxc
    python benchmarks/many_classes/compare.py planted-10000 --n-train 50000
    python benchmarks/many_classes/compare.py debian_deps --peers ours --set epochs=5
"""

import argparse
import csv
import importlib.util
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from _peers import PEERS, Infeasible
from _sets import load

from sklearn_lsh.metrics import precision_at_k

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from _command_line import parameters  # noqa: E402

COLUMNS = ("data", "peer", "setting", "threads", "rows", "p1", "p3", "p5", "train_s", "us_a_row",
           "peak_mb", "model_mb")
NEEDS = {"omikuji": "omikuji", "napkinxc": "napkinxc", "pecos": "pecos",
         "pytorch_softmax": "torch", "pytorch_sigmoid": "torch"}


def measure(name, args):
    """Run in a process of its own: a dict of what is measured, or of the reason why not."""
    problem = load(args.data, args.n_train, args.n_test)
    peer, setting = PEERS[name]
    net = peer(args.threads, args.seed, **{**setting, **parameters(args.set)})
    train = problem.X_train, problem.Y_train, problem.n_labels
    if hasattr(net, "prepare"):
        net.prepare(*train)
    started = time.perf_counter()
    try:
        net.fit(*train)
    except Infeasible as reason:
        return {"skipped": str(reason)}
    trained = time.perf_counter()
    top = np.asarray(net.top(problem.X_test, 5))
    ended = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "rows": problem.X_train.shape[0],
        **{f"p{k}": round(precision_at_k(problem.Y_test, top, k), 4) for k in (1, 3, 5)},
        "train_s": round(trained - started, 2),
        "us_a_row": round((ended - trained) / len(top) * 1e6, 1),
        "peak_mb": round(peak / (2**20 if sys.platform == "darwin" else 2**10)),
        "model_mb": round(net.size() / 2**20, 1),
    }


def measured(name, args):
    """``measure`` from a fresh process."""
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        return {"skipped": f"{NEEDS[name]} is not installed"}
    command = [sys.executable, *sys.argv, "--child", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          env={**os.environ, "OMP_NUM_THREADS": str(args.threads)})
    if done.returncode:
        return {"failed": f"exit {done.returncode}: {done.stderr.strip()[-300:]}"}
    return json.loads(done.stdout.strip().splitlines()[-1])


def report(results):
    """A Markdown table."""
    print("\n| peer | P@1 | P@3 | P@5 | train s | ratio | us a row | ratio | peak MB | model MB |"
          "\n|" + "---|" * 10)
    first = next(iter(results.values()))
    for name, found in results.items():
        ratios = [found[key] / max(first[key], 1e-9) for key in ("train_s", "us_a_row")]
        print(f"| {name} | {found['p1']:.4f} | {found['p3']:.4f} | {found['p5']:.4f} | "
              f"{found['train_s']:.1f} | {ratios[0]:.2f} | {found['us_a_row']:.1f} | "
              f"{ratios[1]:.2f} | {found['peak_mb']} | {found['model_mb']} |")


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="delicious, debian_deps, debian_words or planted-CLASSES")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-train", type=int, help="training rows; all by default")
    parser.add_argument("--n-test", type=int, help="test rows; all by default")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE",
                        help="settings of the peers named")
    parser.add_argument("--csv", default="many_classes.csv", help="lines are appended")
    parser.add_argument("--child", choices=PEERS, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    args = arguments()
    if args.child:
        print(json.dumps(measure(args.child, args)))
        return
    results, failed, new = {}, [], not Path(args.csv).exists()
    with open(args.csv, "a", newline="") as file:
        lines = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            lines.writeheader()
        for name in args.peers:
            found = measured(name, args)
            print(f"{args.data}, {name}: {found}", flush=True)
            if "failed" in found:
                failed.append(name)
            elif "skipped" not in found:
                results[name] = found
                lines.writerow({"data": args.data, "peer": name, "setting": " ".join(args.set),
                                "threads": args.threads, **found})
                file.flush()
    if results:
        report(results)
    if failed:
        sys.exit(f"failed, for the reasons above: {', '.join(failed)}")
    if not results:
        sys.exit("nothing was measured: every peer was skipped")


if __name__ == "__main__":
    main()
