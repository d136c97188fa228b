"""Accuracy by epoch for one to 56 lock-free workers, sparse against dense (figure 6).

With as many workers as the machine has cores they are real threads. Beyond, workers are
simulated in one thread: their updates arrive late, computed at weights that the others have
changed since. The CSV file and the figure say which is which.

    python benchmarks/paper/convergence.py --processes 2
    python benchmarks/paper/convergence.py --sets mnist --workers 1 2 56 --networks lsh
"""

from itertools import product

from _figures import error_axis, legend, not_run, pyplot, save, shades, title
from _networks import OURS, TRAINED, network, rows, trained
from _rates import Rates
from _runs import EPOCHS, SETS, Results, cores, execute, numbers, parse, parser, positive, to_draw

WORKERS = (1, 2, 4, 8, 16, 32, 56)
# Selection, solver and batch. "dense" is how the paper trained it; "dense, one by one" differs
# from "lsh" in nothing but that all nodes are active.
NETWORKS = {
    "lsh": (OURS, "rowwise_adagrad", 1),
    "dense": ("all", "sgd", 32),
    "dense_one_by_one": ("all", "rowwise_adagrad", 1),
}
LABELS = {
    "lsh": "hashing, 5 % active",
    "dense": "dense, mini-batches of 32",
    "dense_one_by_one": "dense, one by one",
}
KEY = ("set", "network", "workers", "kind", "depth", "share", "seed", "method", "solver",
       "batch", "epochs", "learning_rate", "width", "n_train", "n_test")


def configurations(args):
    """All runs but for their learning rates."""
    configs = []
    for seed, depth, name, workers, kind in product(
        args.seeds, args.depths, args.networks, args.workers, ("threads", "simulated")
    ):
        method, solver, batch = NETWORKS[name]
        real = workers <= cores()
        if kind == "threads" and not real or kind == "simulated" and real and not args.simulate:
            continue
        configs += [
            {
                "set": data, "network": name, "workers": workers, "kind": kind, "depth": depth,
                "share": 0.05 if method == OURS else 1.0, "seed": seed, "method": method,
                "solver": solver, "batch": batch, "epochs": args.epochs or EPOCHS[data],
                "width": args.width, "n_train": args.n_train or "all", "n_test": args.n_test,
            }
            for data in args.sets
        ]
    return configs


def run(config):
    data = rows(config["set"], config["n_train"], config["n_test"])
    return trained(network(config), data, config["epochs"])


def cost(config):
    examples = {"mnist": 60, "norb": 24}.get(config["set"], 8)
    return examples * config["epochs"] * (1 if config["method"] == OURS else 3)


def plot(lines, args):
    """One figure a depth: a row of panels for each network, a column for each data set."""
    for depth in sorted({int(line["depth"]) for line in lines}):
        name = f"convergence_{depth}_hidden.png"
        here = to_draw([line for line in lines if int(line["depth"]) == depth], args, name)
        if here:
            draw(here, args.figures, name)


def draw(lines, folder, name):
    plt = pyplot()
    kinds = [kind for kind in NETWORKS if any(line["network"] == kind for line in lines)]
    figure, panels = plt.subplots(
        len(kinds), len(SETS), figsize=(11, 0.8 + 2.3 * len(kinds)), layout="constrained",
        sharex="col", sharey="col", squeeze=False,
    )
    for (row, kind), (column, data) in product(enumerate(kinds), enumerate(SETS)):
        panel = panels[row, column]
        here = [line for line in lines if line["set"] == data]
        chosen = [line for line in here if line["network"] == kind]
        if row == 0:
            panel.set_title(title(data, here))
        if column == 0:
            panel.set_ylabel(f"{LABELS[kind]}\ntest error [%]")
        if not chosen:
            not_run(panel)
            continue
        draw_workers(panel, chosen)
        panel.set_xlabel("epochs" if row == len(kinds) - 1 else "")
    for panel in panels.flat:  # once everything is drawn: a column shares its axis
        if panel.lines:
            error_axis(panel)
    legend(figure, panels.flat)
    save(figure, folder, name)
    plt.close(figure)


def draw_workers(panel, lines):
    """A line for each number of workers: the darker the more, dashed where simulated."""
    colours = dict(zip(WORKERS, shades(len(WORKERS)), strict=True))
    first = min(int(line["seed"]) for line in lines)
    diverged = []
    for line in sorted(lines, key=lambda line: (int(line["workers"]), line["kind"])):
        if int(line["seed"]) != first:
            continue  # curves of several seeds would hide each other
        workers, simulated = int(line["workers"]), line["kind"] == "simulated"
        label = f"{workers} simulated" if simulated else f"{workers} thread" + "s" * (workers > 1)
        error = [100 * (1 - accuracy) for accuracy in numbers(line["accuracies"])]
        panel.plot(
            range(1, len(error) + 1), error, color=colours.get(workers, "tab:gray"),
            linestyle="--" if simulated else "-", linewidth=1.2, label=label,
        )
        diverged += [label] * bool(line["diverged"])
    panel.xaxis.get_major_locator().set_params(integer=True)
    if diverged:
        panel.text(0.97, 0.97, "\n".join(["diverged:", *diverged]), ha="right", va="top",
                   transform=panel.transAxes, fontsize=7)


def main(argv=None):
    options = parser(__doc__, methods=None, shares=None, solvers=None, depths=[3])
    options.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    options.add_argument("--workers", nargs="+", type=positive, default=list(WORKERS))
    options.add_argument("--simulate", action="store_true",
                         help="simulate, too, what threads can do: is the simulation like them?")
    args = parse(options, argv)
    results = Results(args.results / "convergence.csv", KEY, TRAINED)
    if not args.plot_only:
        configs = Rates(args).given(configurations(args))
        threads = [config for config in configs if config["kind"] == "threads"]
        alone = type(args)(**vars(args) | {"processes": 1})
        if execute(results, threads, run, alone, cost):  # threads need the cores to themselves
            execute(results, [c for c in configs if c not in threads], run, args, cost)
    plot(list(results.lines.values()), args)


if __name__ == "__main__":
    main()
