"""Hashing as adaptive dropout: the probability of a node's selection by its activation.

One network, trained with 5 % of its nodes; its weights are then indexed by the paper's union
of buckets (K = 6, L = 5, one probe and ten) with many draws of the hash functions, and by the
library's cascade. Beside them stand adaptive dropout's sigmoid at the same active share, the
exact top nodes, and the theory of the union: 1 - (1 - p^K)^L, p = 1 - angle / pi. Tables find a
little less than that, because crowded buckets are sub-sampled.

    python benchmarks/paper/theory.py
"""

from functools import lru_cache

import numpy as np
from _figures import STYLES, pyplot, save
from _networks import OURS, network, passed, rows
from _runs import Results, execute, numbers, parse, parser, positive, spaced, to_draw
from scipy.optimize import brentq
from scipy.special import expit

from sklearn_lsh import LSHMLPClassifier
from sklearn_lsh.core.optimizers import SOLVERS
from sklearn_lsh.inspection import active_sets

K, L = 6, 5
TEST_ROWS = 200
# A node's activation, standardised over the nodes of the layer for one example.
EDGES = np.arange(-3, 7.01, 0.25)
# Ranks, 1 for the largest activation, up to these.
RANKS = (1, 2, 5, 10, 20, 35, 50, 75, 100, 150, 200, 300, 500, 700, 1000)
CURVES = {
    "winner_take_all": (STYLES["winner_take_all"][2], "#009E73", "s", "-"),
    "cascade": ("cascade, 5 % active", "#D55E00", "o", "-"),
    "union_active": ("union, ten probes, cut to 5 %", "#E69F00", "D", "-"),
    "adaptive_dropout": (STYLES["adaptive_dropout"][2], "#0072B2", "^", "-"),
    "union_10": ("union, ten probes, all found", "#56B4E9", "v", "-"),
    "theory_10": ("theory, ten probes", "#56B4E9", "", "--"),
    "union_1": ("union, one probe, all found", "#CC79A7", "P", "-"),
    "theory_1": ("theory, one probe", "#CC79A7", "", "--"),
}
KEY = ("curve", "set", "width", "share", "seed", "epochs", "n_train", "draws")
FOUND = ("selected", "z", "z_probability", "rank", "rank_probability", "title", "rows")


@lru_cache(1)
def trained_network(name, width, share, seed, epochs, n_train):
    """The network whose nodes are selected, its data, and its pre-activations of test rows."""
    data = rows(name, n_train, TEST_ROWS)
    solver = "rowwise_adagrad"
    clf = network({
        "width": width, "depth": 1, "method": OURS, "share": share, "solver": solver,
        "learning_rate": SOLVERS[solver].auto_learning_rate, "seed": seed,
    })
    for _ in range(epochs):
        passed(clf, data.X_train, data.y_train, np.unique(data.y_train))
    return clf, data, data.X_test @ clf.coefs_[0] + clf.intercepts_[0]


def run(config):
    """One curve."""
    given = {k: config[k] for k in ("width", "share", "seed", "epochs", "n_train")}
    clf, data, z = trained_network(config["set"], **given)
    curve = config["curve"]
    kind, _, probes = curve.rpartition("_")
    if curve == "cascade":
        probability = active_sets(clf, data.X_test)[0].toarray()
    elif curve == "winner_take_all":
        probability = ranks(z) <= round(config["share"] * z.shape[1])
    elif curve == "adaptive_dropout":
        probability = sigmoids(z, config["share"])
    elif kind == "theory":
        probability = theory(clf, data.X_test, z, int(probes))
    else:
        probability = union(clf, data, config["draws"], probes)
    return summary(probability.astype(float), z) | {
        "title": data.title, "rows": len(data.X_train)
    }


def ranks(z):
    """1 for the largest activation of a row."""
    return np.argsort(np.argsort(-z, axis=1), axis=1) + 1


def sigmoids(z, share):
    """Adaptive dropout: sigmoid(z + offset), the offset such that the share holds on average."""
    def excess(offset, row):
        return expit(row + offset).mean() - share

    bound = np.abs(z).max() + 20
    return np.array([expit(row + brentq(excess, -bound, bound, args=(row,))) for row in z])


def theory(clf, X, z, probes):
    """Probability that a node is in a probed bucket of at least one of L tables.

    Rows [w, b, sqrt(M^2 - |w|^2 - b^2)] have length M, so the cosine with the query [x, 1, 0]
    is z / (M |[x, 1]|). A probe that flips bits needs just these to differ: with ten of K = 6
    bits the code itself, all six single bits and three of the 15 pairs.
    """
    weights, intercepts = clf.coefs_[0], clf.intercepts_[0]
    M = np.sqrt((weights.astype(float) ** 2).sum(axis=0) + intercepts**2).max()
    cosine = z / (M * np.sqrt((X.astype(float) ** 2).sum(axis=1) + 1)[:, None])
    p = 1 - np.arccos(np.clip(cosine, -1, 1)) / np.pi
    bucket = p**K
    if probes == 10:
        bucket = bucket + 6 * p ** (K - 1) * (1 - p) + 3 * p ** (K - 2) * (1 - p) ** 2
    return 1 - (1 - bucket) ** L


def union(clf, data, draws, probes):
    """How often each node is found for each test row, over draws of the hash functions.

    probes: "1" or "10" for all that is found, "active" for the budget's random part of it.
    """
    found = np.zeros((len(data.X_test), len(clf.intercepts_[0])))
    for draw in range(draws):
        hashed = rehashed(clf, data, draw, 1 if probes == "1" else 10)
        if probes == "active":
            found += active_sets(hashed, data.X_test)[0].toarray()
            continue
        selector = hashed._network.hidden_layers[0].selector
        for row, x in zip(found, data.X_test, strict=True):
            row[selector.retrieve(x)[0]] += 1
    return found / draws


class Rehashed(LSHMLPClassifier):
    """A network that begins with the given weights instead of random ones."""

    def _new_network(self, X, y, targets, labels):
        network = super()._new_network(X, y, targets, labels)
        for stored, given in zip(network.weights, self.given[0], strict=True):
            stored[:] = given.T
        for layer, intercepts in zip(network.state["layers"], self.given[1], strict=True):
            layer["intercepts"][:] = intercepts
        return network


def rehashed(clf, data, draw, probes):
    """A network with clf's weights, and tables of its own random hash functions."""
    other = Rehashed(
        clf.hidden_layer_sizes, active_fraction=clf.active_fraction, hash_family="simple_lsh",
        hash_search="tables", hash_ranking="union", hash_bits=K, hash_tables=L,
        hash_probes=probes, random_state=draw,
        learning_rate_init=1e-30,  # the first pass hashes the nodes and leaves them as they are
    )
    other.given = clf.coefs_, clf.intercepts_
    X, y = data.X_train[:TEST_ROWS], data.y_train[:TEST_ROWS]
    return other.partial_fit(X, y, classes=clf.classes_)


def summary(probability, z):
    """Mean probability in bins of the standardised activation, and of rank."""
    standard = (z - z.mean(axis=1, keepdims=True)) / z.std(axis=1, keepdims=True)
    bins = np.digitize(standard, EDGES)
    levels = [b for b in range(1, len(EDGES)) if np.count_nonzero(bins == b) >= 20]
    place = ranks(z)
    steps = [r for r in RANKS if r <= z.shape[1]]
    between = list(zip([0, *steps], steps, strict=False))
    return {
        "selected": f"{probability.mean():.4f}",
        "z": spaced([standard[bins == b].mean() for b in levels], 3),
        "z_probability": spaced(probability[bins == b].mean() for b in levels),
        "rank": spaced([(low + 1 + high) / 2 for low, high in between], 1),
        "rank_probability": spaced(
            probability[(place > low) & (place <= high)].mean() for low, high in between
        ),
    }


def plot(lines, args):
    lines = {line["curve"]: line for line in to_draw(lines, args, "theory.png")}
    if not lines:
        return
    plt = pyplot()
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained", sharey=True)
    for curve, (label, colour, marker, style) in CURVES.items():
        if curve in lines:
            for panel, name in zip(panels, ("z", "rank"), strict=True):
                panel.plot(
                    numbers(lines[curve][name]), numbers(lines[curve][f"{name}_probability"]),
                    color=colour, marker=marker, linestyle=style, label=label, linewidth=1.2,
                )
    panels[0].set(xlabel="activation, standardised over the layer",
                  ylabel="probability of selection")
    panels[1].set(xlabel="rank of the activation", xscale="log")
    panels[1].xaxis.set_major_formatter("{x:g}")
    panels[0].legend(fontsize=7)
    save(figure, args.figures, "theory.png")
    plt.close(figure)


def main(argv=None):
    options = parser(__doc__, sets=["mnist"], methods=None, depths=None, shares=[0.05], epochs=3,
                     n_train=20_000, n_test=None, solvers=None)
    options.add_argument("--draws", type=positive, default=50, help="of the random hash functions")
    args = parse(options, argv)
    results = Results(args.results / "theory.csv", KEY, FOUND)
    if not args.plot_only:
        configs = [
            {"curve": curve, "set": name, "width": args.width, "share": share, "seed": seed,
             "epochs": args.epochs, "n_train": args.n_train or "all", "draws": args.draws}
            for name in args.sets for share in args.shares for seed in args.seeds
            for curve in CURVES
        ]
        execute(results, configs, run, args)
    plot(list(results.lines.values()), args)


if __name__ == "__main__":
    main()
