"""Accuracy against the active share, five ways to choose the active nodes (figures 4 and 5).

Networks with two and three hidden layers of 1000 nodes on four data sets, each trained with 5
to 90 % of the nodes by hashing, by the exact top nodes (winner-take-all), adaptive dropout and
dropout, and with all nodes; by the first two with hard thresholds, and with soft ones ("_soft").
Any of them with its input whitened where that is worth it, if its name ends in "_whitened", and
with the mean of the weights after its epochs, if in "_averaged"; these are not drawn.
Every method gets its own learning rate (see _rates.py).

    python benchmarks/paper/sustainability.py --processes 2
    python benchmarks/paper/sustainability.py --sets mnist --depths 2 --shares 0.05 --seeds 0 1
    python benchmarks/paper/sustainability.py --plot-only
"""

from functools import partial

import numpy as np
from _figures import STYLES, error_axis, legend, not_run, pyplot, save, title
from _networks import TRAINED, is_standard, network, rows, trained
from _rates import Rates
from _runs import EPOCHS, SETS, Results, execute, parse, parser, parts, positive, to_draw

METHODS = (
    "lsh", "winner_take_all", "lsh_soft", "winner_take_all_soft", "adaptive_dropout", "dropout",
    "all",
)
SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9)
KEY = ("set", "method", "depth", "share", "seed", "solver", "epochs", "learning_rate", "width",
       "n_train", "n_test")


def configurations(args):
    """All runs but for their learning rates; what matters most comes first."""
    return [
        {
            "set": name, "method": method, "depth": depth, "share": share, "seed": seed,
            "solver": solver, "epochs": args.epochs or EPOCHS[name], "width": args.width,
            "n_train": args.n_train or "all", "n_test": args.n_test,
        }
        for seed in args.seeds
        for solver in args.solvers
        for depth in args.depths
        for name in args.sets
        for share in [1.0, *args.shares]
        for method in args.methods
        if is_standard(method) == (share == 1.0)  # the standard network is one run
    ]


def run(config, threads=1):
    data = rows(config["set"], config["n_train"], config["n_test"])
    return trained(network(config, threads), data, config["epochs"])


def cost(config):
    """Roughly what a run takes: hashing saves time only where little is active."""
    examples = {"mnist": 60, "norb": 24}.get(config["set"], 8)
    hashed = min(1, 0.2 + 4 * config["share"])
    share = {"lsh": hashed, "dropout": config["share"]}
    selection = parts(config["method"])[0]
    overhead = 0.15 if selection != "adaptive_dropout" else 1.2
    return examples * config["epochs"] * (share.get(selection, 1) + overhead)


# ---- figures -----------------------------------------------------------------------------


def plot(lines, args):
    """One figure for each depth and solver, one panel for each data set."""
    lines = [line for line in lines if line["method"] in METHODS]
    for solver, depth in sorted({(line["solver"], int(line["depth"])) for line in lines}):
        suffix = "" if solver == "rowwise_adagrad" else f"_{solver}"
        name = f"sustainability_{depth}_hidden{suffix}.png"
        chosen = [line for line in lines
                  if line["solver"] == solver and int(line["depth"]) == depth]
        chosen = to_draw(chosen, args, name)
        if chosen:
            draw(chosen, depth, args.figures, name)


def draw(lines, depth, folder, name):
    plt = pyplot()
    figure, panels = plt.subplots(1, len(SETS), figsize=(11, 3.1), layout="constrained")
    for panel, data in zip(panels, SETS, strict=True):
        here = [line for line in lines if line["set"] == data]
        panel.set_title(title(data, here))
        if not here:
            not_run(panel)
            continue
        for method in METHODS:
            draw_method(panel, method, [line for line in here if line["method"] == method])
        panel.set(xlabel="active share of a hidden layer [%]", xscale="logit", xlim=(0.042, 0.915))
        panel.set_xticks(SHARES, [f"{100 * share:g}" for share in SHARES])
        panel.minorticks_off()
        error_axis(panel)
    panels[0].set_ylabel("test error [%]")
    legend(figure, panels)
    figure.suptitle(f"{depth} hidden layers")
    save(figure, folder, name)
    plt.close(figure)


def draw_method(panel, method, lines):
    """Mean over the seeds, with a bar from the lowest to the highest where there are several."""
    colour, marker, label = STYLES[method]
    error = {}
    for line in lines:
        error.setdefault(float(line["share"]), []).append(100 * (1 - float(line["accuracy"])))
    if method == "all":
        for values in error.values():
            panel.axhline(np.mean(values), color=colour, linestyle="--", label=label)
        return
    if error:
        shares = sorted(error)
        mean = np.array([np.mean(error[share]) for share in shares])
        low = mean - [min(error[share]) for share in shares]
        high = [max(error[share]) for share in shares] - mean
        panel.errorbar(shares, mean, [low, high], color=colour, marker=marker, label=label,
                       capsize=2)


def measured(args):
    """The results, with all that was asked for unless the time ran out."""
    results = Results(args.results / "sustainability.csv", KEY, TRAINED)
    if not args.plot_only:
        configs = Rates(args).given(configurations(args))
        execute(results, configs, partial(run, threads=args.threads), args, cost)
    return results


def options():
    options = parser(__doc__, methods=list(METHODS), depths=[2, 3], shares=list(SHARES))
    options.add_argument("--threads", type=positive, default=1,
                         help="of a run; results do not depend on it")
    options.add_argument("--folds", type=int, default=0, choices=range(6),
                         help="fifths on which learning rates that are close are judged again")
    return options


def main(argv=None):
    args = parse(options(), argv)
    plot(list(measured(args).lines.values()), args)


if __name__ == "__main__":
    main()
