"""Does it matter that nodes die? Networks with revived nodes beside networks without.

With 5 % active the same few hundred of a thousand nodes win most of the time; the others are
never active in an epoch, by hashing and by the exact winner-take-all alike. Here, after every
thousand examples, the intercepts of nodes that would win too rarely are raised by a tenth of
what they lack, so that nearly every node stays in use. If capacity were what is missing, that
had to help.

    python benchmarks/paper/dead_nodes.py
"""

import numpy as np
from _figures import TITLES, error_axis, pyplot, save
from _networks import OURS, network, passed, rows
from _runs import EPOCHS, Results, execute, parse, parser, parts, to_draw

from sklearn_lsh.core.optimizers import SOLVERS

# Examples between two revivals, those a revival looks at, how often every node should win
# (in shares of its fair part) and by how much of what it lacks its intercept is raised.
EVERY, SAMPLE, FAIR, STEP = 1000, 128, 0.2, 0.1
KEY = ("set", "method", "depth", "share", "seed", "epochs", "width", "revived", "n_train",
       "n_test")
FOUND = ("accuracy", "dead_nodes", "loss", "title", "rows")


def run(config):
    """Train by the thousand, reviving nodes in between or not."""
    data = rows(config["set"], config["n_train"], config["n_test"])
    solver = "rowwise_adagrad"
    rate = SOLVERS[solver].auto_learning_rate
    clf = network(config | {"solver": solver, "learning_rate": rate})
    X, y, classes = data.X_train, data.y_train, np.unique(data.y_train)
    rng = np.random.default_rng(config["seed"])
    for _ in range(config["epochs"]):
        order, used = rng.permutation(len(X)), None
        for start in range(0, len(X), EVERY):
            chosen = order[start : start + EVERY]
            passed(clf, X[chosen], y[chosen], classes)
            now = [used_by_name(layer) for layer in clf._network.state["layers"][:-1]]
            used = now if used is None else [a | b for a, b in zip(used, now, strict=True)]
            if config["revived"]:
                revive(clf, X[rng.choice(len(X), SAMPLE)])
    return {
        "accuracy": clf.score(data.X_test, data.y_test),
        "dead_nodes": " ".join(str(np.count_nonzero(~u)) for u in used),
        "loss": f"{clf.history_['loss'][-1]:.4f}",
        "title": data.title, "rows": len(X),
    }


def used_by_name(layer):
    """Which nodes were active, in an order that sorting the nodes does not change."""
    used = layer["used"] > 0
    return used[np.argsort(layer["nodes"])] if "nodes" in layer else used


def revive(clf, inputs):
    """Raise the intercepts of nodes that win for too few of these inputs, layer by layer."""
    net = clf._network
    net.wake_nodes()  # or those revived would be left out of training
    for layer, weights, k in zip(
        net.state["layers"], net.weights, net.settings.n_active, strict=False
    ):
        z = inputs @ weights.T + layer["intercepts"]
        often_enough = 1 - FAIR * k / z.shape[1]
        lacking = -np.quantile(z - bars(layer, z, k), often_enough, axis=0)
        raised = STEP * np.maximum(0, lacking)
        layer["intercepts"] += raised.astype(np.float32)
        if "hashing" in layer:
            layer["hashing"]["dirty"][:] = 2
        z = np.maximum(z + raised, 0)
        bar = bars(layer, z, k)
        inputs = np.where(z >= bar, z - (bar if "threshold" in layer else 0), 0)


def bars(layer, z, k):
    """What activations must reach: the layer's soft threshold, or each row's k-th largest."""
    if "threshold" in layer:
        return layer["threshold"][0]
    return np.partition(z, -k, axis=1)[:, -k][:, None]


def plot(lines, args):
    lines = to_draw(lines, args, "dead_nodes.png")
    if not lines:
        return
    plt = pyplot()
    cases = sorted({(line["set"], line["method"], line["depth"]) for line in lines})
    figure, panel = plt.subplots(figsize=(max(6, len(cases)), 3.6), layout="constrained")
    for x, case in enumerate(cases):
        for revived, colour, marker in (("0", "#0072B2", "s"), ("1", "#D55E00", "o")):
            values = [
                100 * (1 - float(line["accuracy"])) for line in lines
                if (line["set"], line["method"], line["depth"], line["revived"])
                == (*case, revived)
            ]
            label = ("nodes revived" if revived == "1" else "left alone") if x == 0 else None
            panel.plot([x + 0.1 * (revived == "1")] * len(values), values, color=colour,
                       marker=marker, linestyle="", label=label)
    names = [f"{TITLES[name]}\n{parts(method)[0].replace('_', '-')}\n{depth} hidden"
             for name, method, depth in cases]
    panel.set_xticks(range(len(cases)), names, fontsize=7)
    panel.set(ylabel="test error [%]")
    error_axis(panel)
    panel.legend()
    save(figure, args.figures, "dead_nodes.png")
    plt.close(figure)


def main(argv=None):
    options = parser(__doc__, sets=["mnist", "convex", "rectangles_image"],
                     methods=["winner_take_all_soft", OURS], depths=[1, 3], shares=[0.05],
                     solvers=None)
    args = parse(options, argv)
    results = Results(args.results / "dead_nodes.csv", KEY, FOUND)
    if not args.plot_only:
        configs = [
            {"set": name, "method": method, "depth": depth, "share": share, "seed": seed,
             "epochs": args.epochs or EPOCHS[name], "width": args.width, "revived": revived,
             "n_train": args.n_train or "all", "n_test": args.n_test}
            for seed in args.seeds for name in args.sets for depth in args.depths
            for share in args.shares for method in args.methods for revived in (0, 1)
        ]
        execute(results, configs, run, args)
    plot([line for line in results.lines.values() if line["method"] in args.methods], args)


if __name__ == "__main__":
    main()
