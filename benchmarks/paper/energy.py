"""What an example costs with 5 % of the nodes and with all: in training and in prediction.

Joules where the processor's counters can be read (Linux, intel-rapl). Instructions from the
processor's counters where ``perf stat`` reaches them, else counted by valgrind on a few
examples with AVX2 instructions. Beside them multiplications, counted by the library, bytes,
by the model in ``bytes_moved``, and seconds in one thread. Every line says how it was measured.

    python benchmarks/paper/energy.py
    python benchmarks/paper/energy.py --measures multiplications bytes seconds
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from copy import deepcopy
from functools import lru_cache
from itertools import product
from pathlib import Path

import joblib
import numpy as np
from _figures import STYLES, pyplot, save
from _networks import OURS, network, passed, rows
from _rates import Rates
from _runs import Results, execute, parse, parser, to_draw

from sklearn_lsh._data import as_rows
from sklearn_lsh.core.answers import Probabilities
from sklearn_lsh.inspection import active_sets

POWERCAP = Path("/sys/class/powercap")
MEASURES = ("multiplications", "bytes", "seconds", "instructions", "joules")
# Examples whose instructions are counted, and seconds over which joules are.
COUNTED, SECONDS = 1000, 20
KEY = ("set", "method", "depth", "width", "share", "seed", "solver", "learning_rate", "epochs",
       "n_train", "measure")
FOUND = ("train", "predict", "how", "title", "rows")


@lru_cache(2)
def fitted(items):
    """A trained network, so that active sets are what they are in the end, and its data."""
    config = dict(items)
    data = rows(config["set"], config["n_train"], 2000)
    clf = network(config)
    for _ in range(config["epochs"]):
        passed(clf, data.X_train, data.y_train, np.unique(data.y_train))
    return clf, data


def run(config):
    """One measure of one network, for an example in training and in prediction."""
    if config["method"] == "textbook":
        return textbook(config)
    clf, data = fitted(tuple((name, config[name]) for name in KEY[:-1]))
    measure = {
        "multiplications": multiplications, "bytes": bytes_moved, "seconds": seconds,
        "instructions": instructions, "joules": joules,
    }[config["measure"]]
    train, predict, how = measure(clf, data)
    return {
        "train": f"{train:.6g}", "predict": f"{predict:.6g}", "how": how,
        "title": data.title, "rows": len(data.X_train),
    }


def available(measure):
    """Whether this machine can measure it."""
    if measure == "joules":
        return bool(counters())
    if measure == "instructions":
        return perf_counts() or shutil.which("valgrind") is not None
    return True


# ---- counted and modelled ----------------------------------------------------------------


def textbook(config):
    """The dense network as it is usually counted, without a zero skipped."""
    data = rows(config["set"], config["n_train"], 2000)
    hidden = [config["width"]] * config["depth"]
    sizes = [data.X_train.shape[1], *hidden, len(np.unique(data.y_train))]
    weights = [a * b for a, b in zip(sizes, sizes[1:], strict=False)]
    if config["measure"] == "multiplications":
        train, predict = 2 * sum(weights) + sum(weights[1:]), sum(weights)
    else:  # read, updated (read and written), and read once more on the way down
        train, predict = 4 * (3 * sum(weights) + sum(weights[1:])), 4 * sum(weights)
    return {"train": train, "predict": predict, "how": "every weight, no zero skipped",
            "title": data.title, "rows": len(data.X_train)}


def multiplications(clf, data):
    net = clf._network
    train = clf.history_["multiplications"][-1] * net.settings.dense_multiplications
    workspaces = net.engine.workspaces(1)
    n = len(data.X_test)
    out = np.empty((n, net.settings.n_outputs))
    net.engine.predict(as_rows(data.X_test), 0, n, Probabilities(out), workspaces)
    predict = net.engine.totals(workspaces)["multiplications"] / n
    return train, predict, "counted by the library"


def bytes_moved(clf, data):
    """Bytes of weights and sketches that an example reads and writes, by a model.

    Four bytes a number, every number counted each time it is used, indices and the few numbers
    of the optimizer left out. With n nodes, m inputs that are not 0, p active nodes that have
    an output, and sketches of d numbers, a layer

    - selects by reading the d numbers of m projections and of n sketches, and the m weights of
      the nodes on the short list; where it does not hash, the m weights of n nodes;
    - in training updates p x m weights and, with hashing, p sketches, read and written;
    - and passes the gradient down through p x m weights, except for the first layer.
    """
    net, X = clf._network, data.X_test
    layers = net.state["layers"]
    inputs, select, update, down = X, 0.0, 0.0, 0.0
    chosen = active_sets(clf, X)
    for index, layer in enumerate(layers):
        set_inputs = np.count_nonzero(inputs, axis=1)
        # Rows more than half full are handled as dense.
        m = np.where(2 * set_inputs > inputs.shape[1], inputs.shape[1], set_inputs)
        outputs = inputs @ net.weights[index].T + layer["intercepts"]
        n, d, p = outputs.shape[1], 0, np.full(len(X), outputs.shape[1])
        read = n * m
        if index < len(chosen):
            inputs = np.maximum(outputs, 0) * chosen[index].toarray()
            p = np.count_nonzero(inputs, axis=1)
            if clf.selection == "lsh" and clf.hash_search_[index] == "scan":
                d = layer["hashing"]["sketches"].shape[1]
                read = d * m + d * n + layer["hashing"]["short_list"] * m
        select += read.mean()
        update += (2 * p * (m + d)).mean()
        down += (p * m).mean() if index else 0.0
    return 4 * (select + update + down), 4 * select, "model, see bytes_moved"


# ---- measured ----------------------------------------------------------------------------


def phases(clf, data):
    """Training and predicting all rows once; each returns how many examples that were."""
    clf = deepcopy(clf)  # what is measured next is to find the network as it was

    def train():
        clf.partial_fit(data.X_train, data.y_train)
        return len(data.X_train)

    def predict():
        clf.predict_proba(data.X_test)
        return len(data.X_test)

    return train, predict


def seconds(clf, data):
    found = []
    for phase in phases(clf, data):
        took = []
        for _ in range(3):
            started = time.perf_counter()
            n = phase()
            took.append((time.perf_counter() - started) / n)
        found.append(min(took))
    return *found, f"one thread, load {os.getloadavg()[0]:.1f}"


def counters():
    """Energy counters of the processor packages that may be read."""
    return [path for path in POWERCAP.glob("intel-rapl:?/energy_uj") if os.access(path, os.R_OK)]


def joules(clf, data):
    found = []
    for phase in phases(clf, data):
        n, before = 0, [int(path.read_text()) for path in counters()]
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            n += phase()
        spent = 0
        for path, start in zip(counters(), before, strict=True):
            wrap = int((path.parent / "max_energy_range_uj").read_text()) + 1
            spent += (int(path.read_text()) - start) % wrap
        found.append(spent / 1e6 / n)
    return *found, "processor packages (intel-rapl), all that ran, idle power included"


def perf_counts():
    """Whether perf can count instructions here."""
    return shutil.which("perf") is not None and perf(["true"]) is not None


def perf(command):
    done = subprocess.run(
        ["perf", "stat", "-x,", "-e", "instructions:u", *command],
        capture_output=True, text=True, check=False,
    )
    first = done.stderr.strip().splitlines()[-1].split(",")[0] if done.stderr.strip() else ""
    return int(first) if first.isdigit() else None


def valgrind(command):
    done = subprocess.run(
        ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null",
         *command],
        capture_output=True, text=True, check=True,
        # valgrind knows no AVX-512.
        env={**os.environ, "SKLEARN_LSH_SIMD": "avx2", "PYTHONHASHSEED": "0",
             "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    return int(re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)[1].replace(",", ""))


def instructions(clf, data):
    """Of processes that differ in nothing but the number of examples."""
    counts = perf if perf_counts() else valgrind
    how = "perf stat" if counts is perf else "valgrind, AVX2"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.joblib"
        joblib.dump((clf, data.X_train[:3 * COUNTED], data.y_train[:3 * COUNTED]), file)

        def of(n_train, n_predict):
            return counts([sys.executable, __file__, "--child", str(file), str(n_train),
                           str(n_predict)])

        # The smaller numbers pay for all that happens once in a process or a call.
        least = of(COUNTED, COUNTED)
        found = [
            (more - least) / (2 * COUNTED)
            for more in (of(3 * COUNTED, COUNTED), of(COUNTED, 3 * COUNTED))
        ]
    return *found, f"{how}, user mode, {2 * COUNTED} examples"


def child(file, n_train, n_predict):
    clf, X, y = joblib.load(file)
    clf.partial_fit(X[:int(n_train)], y[:int(n_train)])
    clf.predict_proba(X[:int(n_predict)])


# ---- figure ------------------------------------------------------------------------------


def plot(lines, args):
    """Each measure with hashing, in per cent of the dense network's."""
    lines = to_draw(lines, args, "energy.png")
    if not lines:
        return
    depth = min(int(line["depth"]) for line in lines)
    cost = {(line["method"], line["measure"]): line for line in lines
            if int(line["depth"]) == depth}
    # What is compared with what: measure, and the method that is 100 %.
    shown = [(measure, base) for measure in MEASURES for base in ("textbook", "all")
             if (OURS, measure) in cost and (base, measure) in cost]
    plt = pyplot()
    figure, panel = plt.subplots(figsize=(7, 0.8 + 0.6 * len(shown)), layout="constrained")
    for (place, (measure, base)), (step, phase) in product(
        enumerate(shown), ((-0.2, "train"), (0.2, "predict"))
    ):
        share = 100 * float(cost[OURS, measure][phase]) / float(cost[base, measure][phase])
        panel.barh(place + step, share, 0.36, color=STYLES[OURS][0], edgecolor="black",
                   hatch="" if phase == "train" else "///", linewidth=0.6,
                   label={"train": "training", "predict": "prediction"}[phase]
                   if place == 0 else None)
        panel.text(share, place + step, f" {share:.1f} %", va="center", fontsize=8)
    against = {"textbook": "no zero skipped", "all": "our dense network"}
    panel.set_yticks(range(len(shown)), [
        f"{measure}, of {against[base]}\n({cost[OURS, measure]['how'].split(',')[0]})"
        for measure, base in shown
    ], fontsize=8)
    panel.invert_yaxis()
    panel.margins(x=0.12)
    panel.set_xlabel("cost of an example with hashing [% of a dense network's], "
                     f"{depth} hidden layers")
    panel.legend()
    save(figure, args.figures, "energy.png")
    plt.close(figure)


def configurations(args):
    """All measures of all networks but for the learning rates."""
    configs = []
    for name, depth, seed, method in product(
        args.sets, args.depths, args.seeds, [*args.methods, "textbook"]
    ):
        measures = [m for m in args.measures if available(m)]
        if method == "textbook":
            measures = [m for m in measures if m in ("multiplications", "bytes")]
        configs += [
            {"set": name, "method": method, "depth": depth, "width": args.width, "share": share,
             "seed": seed, "solver": "rowwise_adagrad", "epochs": args.epochs,
             "n_train": args.n_train or "all", "measure": measure}
            for share in (args.shares if method == OURS else [1.0]) for measure in measures
        ]
    return configs


def main(argv=None):
    options = parser(
        __doc__, sets=["mnist"], methods=[OURS, "all"], depths=[2], shares=[0.05], solvers=None,
        epochs=2, n_train=20_000, n_test=None,
    )
    options.add_argument("--measures", nargs="+", choices=MEASURES, default=list(MEASURES))
    args = parse(options, argv)
    if "instructions" in args.measures and args.n_train < 3 * COUNTED:
        options.error(f"--n-train {args.n_train}: instructions are counted on {3 * COUNTED} rows")
    results = Results(args.results / "energy.csv", KEY, FOUND)
    if not args.plot_only:
        for measure in args.measures:
            if not available(measure):
                print(f"{measure} cannot be measured on this machine")
        rates, configs = Rates(args), configurations(args)
        rates.search([config for config in configs if config["method"] != "textbook"])
        configs = [
            config | {"learning_rate": "none" if config["method"] == "textbook"
                      else rates.best(config)}
            for config in configs
        ]
        execute(results, configs, run, args)
    plot(list(results.lines.values()), args)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
