"""Recall against the work spent on renewing hash functions.

The library renews a layer's hash functions when its recall has drifted, as far as the budget
for it allows. Here budgets from next to nothing to everything are tried.

    python benchmarks/paper/renewals.py
"""

import numpy as np
from _figures import TITLES, pyplot, save, shades
from _networks import OURS, network, passed, rows
from _runs import Results, execute, numbers, parse, parser, proportion, spaced, to_draw

import sklearn_lsh._rehash as rehash
from sklearn_lsh.core.optimizers import SOLVERS
from sklearn_lsh.inspection import active_set_recall

EVERY = 1000
BUDGETS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
KEY = ("budget", "set", "depth", "share", "width", "seed", "n_train", "epochs")
FOUND = ("mean_recall", "share_spent", "renewals", "multiplications", "recall", "accuracy",
         "title")


class Spent:
    """Counts renewals and what they cost, by standing in for ``Renewal.run``."""

    def __init__(self):
        self.renewals = self.multiplications = 0
        self.run = rehash.Renewal.run

    def __call__(self, renewal):
        self.run(renewal)
        self.renewals += 1
        self.multiplications += renewal.multiplications


def run(config):
    """Recall on test rows after every thousand examples, under one budget."""
    data, solver = rows(config["set"], config["n_train"], 2000), "rowwise_adagrad"
    clf = network(config | {
        "method": OURS, "solver": solver, "learning_rate": SOLVERS[solver].auto_learning_rate,
    })
    X, y, classes = data.X_train, data.y_train, np.unique(data.y_train)
    rng, recalls, shares, spent = np.random.default_rng(config["seed"]), [], [], Spent()
    usual = rehash.BUDGET
    rehash.BUDGET, rehash.Renewal.run = config["budget"], lambda renewal: spent(renewal)
    try:
        for _ in range(config["epochs"]):
            order = rng.permutation(len(X))
            for start in range(0, len(X) - EVERY + 1, EVERY):
                chosen = order[start : start + EVERY]
                passed(clf, X[chosen], y[chosen], classes)
                shares.append(clf.history_["multiplications"][-1])
                recalls.append(active_set_recall(clf, data.X_test[:200]))
    finally:
        rehash.BUDGET, rehash.Renewal.run = usual, spent.run
    dense = clf._network.settings.dense_multiplications
    return {
        "mean_recall": f"{np.mean(recalls):.4f}",
        "share_spent": f"{spent.multiplications / (sum(shares) * EVERY * dense):.4f}",
        "renewals": spent.renewals, "multiplications": f"{np.mean(shares):.5f}",
        "recall": spaced(np.min(recalls, axis=1), 3),
        "accuracy": clf.score(data.X_test, data.y_test), "title": data.title,
    }


def plot(lines, args):
    """What was spent against what was found, and the worst layer's recall as training goes."""
    lines = to_draw(lines, args, "renewals.png")
    if not lines:
        return
    plt = pyplot()
    sets = sorted({line["set"] for line in lines})
    figure, panels = plt.subplots(
        1, len(sets) + 1, figsize=(3.6 * (len(sets) + 1), 3.4), layout="constrained"
    )
    for name, panel in zip(sets, panels[1:], strict=True):
        here = sorted(
            (line for line in lines if line["set"] == name), key=lambda line: float(line["budget"])
        )
        panels[0].plot(
            [100 * float(line["share_spent"]) for line in here],
            [float(line["mean_recall"]) for line in here], marker="o", label=TITLES[name],
        )
        for line, colour in zip(here, shades(len(here)), strict=True):
            found = numbers(line["recall"])
            seen = EVERY * np.arange(1, len(found) + 1)
            panel.plot(seen, found, color=colour, linewidth=1,
                       label=f"budget {100 * float(line['budget']):g} %")
        panel.set(title=here[0]["title"], xlabel="examples", ylabel="lowest recall of a layer",
                  ylim=(0.5, 1.01))
        panel.legend(fontsize=7)
    panels[0].set(xlabel="multiplications spent on renewals [%]", ylabel="mean recall",
                  xscale="log")
    panels[0].legend(fontsize=7)
    save(figure, args.figures, "renewals.png")
    plt.close(figure)


def main(argv=None):
    options = parser(__doc__, sets=["mnist", "convex"], methods=None, depths=[3], shares=[0.05],
                     solvers=None, epochs=2, n_train=20_000, n_test=None)
    options.add_argument("--budgets", type=proportion, nargs="+", default=list(BUDGETS))
    args = parse(options, argv)
    results = Results(args.results / "renewals.csv", KEY, FOUND)
    if not args.plot_only:
        configs = [
            {"budget": budget, "set": name, "depth": depth, "share": share, "width": args.width,
             "seed": seed, "n_train": args.n_train, "epochs": args.epochs}
            for name in args.sets for seed in args.seeds for depth in args.depths
            for share in args.shares for budget in args.budgets
        ]
        execute(results, configs, run, args)
    plot(list(results.lines.values()), args)


if __name__ == "__main__":
    main()
