"""Ways to search for the active nodes side by side: the default, scans, tables, the paper's own.

"scan" and "tables" are the default with every layer hashed, and searched by sketches or by hash
tables. "paper" is what the paper describes: raw vectors hashed by 6 bits into 5 tables, ten
buckets probed in each, and a random part of their union taken. All train with the learning rate
found for hashing, and the dense network with its own beside them.

    python benchmarks/paper/searches.py --processes 2
    python benchmarks/paper/searches.py --width 4000 --shares 0.0125 --depths 3 --searches default
"""

from itertools import product

from _figures import error_axis, legend, pyplot, save
from _networks import OURS, TRAINED, network, rows, trained
from _rates import Rates
from _runs import EPOCHS, Results, execute, parse, parser, to_draw

# The estimator's parameters, and how the figure shows them.
SEARCHES = {
    "default": ({}, "#D55E00", "o"),
    "scan": ({"hash_search": "scan"}, "#009E73", "s"),
    "tables": ({"hash_search": "tables"}, "#0072B2", "^"),
    "paper": (
        {"hash_search": "tables", "hash_family": "simple_lsh", "hash_ranking": "union",
         "hash_bits": 6, "hash_tables": 5, "hash_probes": 10},
        "#CC79A7", "v",
    ),
    "dense": ({}, "#000000", "D"),
}
# The paper's network is hard.
METHODS = {"paper": "lsh", "dense": "all"}
KEY = ("set", "search", "depth", "share", "width", "seed", "method", "solver", "epochs",
       "learning_rate", "n_train", "n_test")


def configurations(args):
    """All runs but for their learning rates."""
    return [
        {
            "set": name, "search": search, "depth": depth,
            "share": 1.0 if search == "dense" else share, "width": args.width, "seed": seed,
            "method": METHODS.get(search, OURS), "solver": "rowwise_adagrad",
            "epochs": args.epochs or EPOCHS[name], "n_train": args.n_train or "all",
            "n_test": args.n_test,
        }
        for seed, name, depth, share, search in product(
            args.seeds, args.sets, args.depths, args.shares, args.searches
        )
    ]


def run(config):
    clf = network(config).set_params(**SEARCHES[config["search"]][0])
    return trained(clf, rows(config["set"], config["n_train"], config["n_test"]),
                   config["epochs"])


def plot(lines, args):
    """Test error against multiplications, one panel for each depth."""
    lines = to_draw([line for line in lines if line["set"] == "mnist"], args, "searches.png")
    if not lines:
        return
    depths = sorted({int(line["depth"]) for line in lines})
    plt = pyplot()
    figure, panels = plt.subplots(
        1, len(depths), figsize=(3.4 * len(depths), 3.2), layout="constrained", squeeze=False
    )
    for depth, panel in zip(depths, panels[0], strict=True):
        for name, (_, colour, marker) in SEARCHES.items():
            here = [line for line in lines if line["search"] == name
                    and int(line["depth"]) == depth]
            panel.plot(
                [100 * float(line["multiplications"]) for line in here],
                [100 * (1 - float(line["accuracy"])) for line in here],
                color=colour, marker=marker, linestyle="", label=name,
            )
        panel.set(title=f"{depth} hidden layer{'s' * (depth > 1)}", xscale="log",
                  xlabel="multiplications [% of the dense network's]")
        error_axis(panel)
    panels[0][0].set_ylabel("test error [%]")
    legend(figure, panels[0])
    save(figure, args.figures, "searches.png")
    plt.close(figure)


def main(argv=None):
    options = parser(__doc__, sets=["mnist"], depths=[1, 2, 3], shares=[0.05], solvers=None,
                     methods=None)
    options.add_argument("--searches", nargs="+", choices=SEARCHES, default=list(SEARCHES))
    args = parse(options, argv)
    results = Results(args.results / "searches.csv", KEY, TRAINED)
    if not args.plot_only:
        execute(results, Rates(args).given(configurations(args)), run, args)
    plot(list(results.lines.values()), args)


if __name__ == "__main__":
    main()
