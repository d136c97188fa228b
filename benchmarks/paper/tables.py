"""The tables of doc/paper.rst that show recorded runs, from the CSV files.

Writes results/tables/*.rst, which the documentation includes; what was not run is left empty.

    python benchmarks/paper/tables.py
"""

from itertools import product

import numpy as np
from _figures import TITLES
from _networks import OURS
from _runs import AVERAGED, SETS, WHITENED, fullest, numbers, read, results_option
from claims import paired, recorded
from sustainability import SHARES

DEPTHS = ("1", "2", "3")
# Seeds of every experiment that has several; where differences are small, there are more.
SEEDS = ("0", "1", "2")
WINNER = "winner_take_all"
NAMES = {OURS: "lsh", WINNER + "_soft": "winner-take-all"}
EMPTY = ".."  # a comment: the first cell of a row must not be empty


class Runs:
    """Lines of sustainability.csv by what was run.

    Parameters
    ----------
    folder : Path
        Of the CSV files.
    solver : str
    """

    def __init__(self, folder, solver="rowwise_adagrad"):
        self.lines = {}
        for line in recorded(folder / "sustainability.csv"):
            if line["solver"] == solver:
                place = line["method"], line["set"], line["depth"], line["share"]
                self.lines.setdefault(place, {})[line["seed"]] = line

    def of(self, method, name, depth, share=0.05):
        """Lines by seed; the standard network has no active share."""
        share = 1.0 if method.startswith("all") else share
        return self.lines.get((method, name, depth, str(share)), {})

    def accuracies(self, *place, **share):
        """Accuracies by seed."""
        return {seed: float(line["accuracy"]) for seed, line in self.of(*place, **share).items()}

    def first(self, *place, **share):
        """Lines of the first three seeds."""
        return [line for seed, line in self.of(*place, **share).items() if seed in SEEDS]


# ---- cells -------------------------------------------------------------------------------


def mean(lines):
    """The mean accuracy of lines."""
    return f"{np.mean([float(line['accuracy']) for line in lines]):.4f}" if lines else EMPTY


def recall(lines):
    """The lowest of any layer, seed, and epoch from the second on."""
    return f"{min(min(numbers(line['lowest_recall'])) for line in lines):.3f}" if lines else EMPTY


def multiplications(lines):
    """Relative to a dense network's, which skips no zeros."""
    if not lines:
        return EMPTY
    share = 100 * np.mean([float(line["multiplications"]) for line in lines])
    digits = 2 if share < 1 else 1 if share < 10 else 0
    return f"{share:.{digits}f} %"


def rate(lines):
    """The learning rate, one for all seeds."""
    return "{:g}".format(*{float(line["learning_rate"]) for line in lines}) if lines else EMPTY


def difference(ours, theirs):
    """In points, over the seeds that both have, with its standard error and their number."""
    points = paired(ours, theirs)
    if not points:
        return EMPTY, EMPTY, EMPTY
    error = f"{np.std(points, ddof=1) / len(points) ** 0.5:.2f}" if len(points) > 1 else EMPTY
    return f"{np.mean(points):+.2f}", error, str(len(points))


def labels(name, row):
    """What a data set's rows begin with."""
    return TITLES[name] if row == 0 else "(stand-in)" if (name, row) == ("norb", 1) else EMPTY


# ---- tables ------------------------------------------------------------------------------


def accuracy(folder):
    """At 5 % active: hashing beside the exact winner-take-all and the standard network."""
    runs, rows = Runs(folder), []
    for name, depth in product(SETS, DEPTHS):
        ours = runs.first(OURS, name, depth)
        others = (OURS, WINNER + "_soft", "lsh", WINNER, "all")
        rows.append([
            labels(name, DEPTHS.index(depth)), depth,
            *(mean(runs.first(method, name, depth)) for method in others),
            recall(ours), multiplications(ours),
        ])
    return simple_table(
        ("data", "layers", "lsh", "winner-take-all", "lsh", "winner-take-all", "all", "recall",
         "multiplications"), rows,
        ((EMPTY, 2), ("soft thresholds", 2), ("hard thresholds", 2), ("", 3)),
    )


def shares(folder):
    """The first seed of every method at every active share."""
    runs, rows = Runs(folder), []
    for name, depth in product(SETS, DEPTHS[1:]):
        for method in (OURS, WINNER + "_soft", "adaptive_dropout", "dropout"):
            here = [runs.of(method, name, depth, share).get("0") for share in SHARES]
            first = method == OURS
            here.append(runs.of("all", name, depth).get("0") if first else None)
            rows.append([
                labels(name, DEPTHS.index(depth) - 1) if first else EMPTY,
                depth if first else "", NAMES.get(method, method.replace("_", " ")),
                *(mean([line] if line else []) for line in here),
            ])
    shares = [f"{100 * share:g} %" for share in SHARES]
    return simple_table(("data", "layers", "method", *shares, "all"), rows)


def means(folder):
    """The library's solver, with the last weights and with the mean of them."""
    runs, rows = Runs(folder), []
    for name, depth in product(SETS, DEPTHS):
        methods = OURS, OURS + AVERAGED, "all", "all" + AVERAGED
        ours, theirs = (runs.accuracies(m + AVERAGED, name, depth) for m in (OURS, "all"))
        rows.append([
            labels(name, DEPTHS.index(depth)), depth,
            *(mean(runs.first(method, name, depth)) for method in methods),
            *difference(ours, theirs)[:2],
        ])
    return simple_table(
        ("data", "layers", "last", "mean", "last", "mean", "points", "error"), rows,
        ((EMPTY, 2), ("hashing", 2), ("all", 2), ("difference", 2)),
    )


def paper_solver(folder):
    """The paper's solver with means of weights, whitened where the library would whiten."""
    runs, rows = Runs(folder, "adagrad"), []
    for name, depth in product(SETS, DEPTHS):
        ending = (WHITENED if name == "rectangles_image" else "") + AVERAGED
        places = [(method + ending, name, depth) for method in (OURS, "all")]
        row = DEPTHS.index(depth)
        rows.append(["whitened" if ending != AVERAGED and row == 1 else labels(name, row), depth])
        for place in places:
            lines = list(runs.of(*place).values())
            rows[-1] += [mean(lines), rate(lines)]
        rows[-1] += difference(*(runs.accuracies(*place) for place in places))
    return simple_table(
        ("data", "layers", "mean", "rate", "mean", "rate", "points", "error", "seeds"), rows,
        ((EMPTY, 2), ("hashing", 2), ("all", 2), ("difference", 3)),
    )


def whitened(folder):
    """Rectangles-image with the input as it is, and whitened."""
    runs, rows, name = Runs(folder), [], "rectangles_image"
    for depth in DEPTHS:
        methods = [method + WHITENED for method in (OURS, WINNER + "_soft", "all")]
        ours = runs.first(methods[0], name, depth)
        rows.append([
            depth, *(mean(runs.first(method, name, depth)) for method in (OURS, "all", *methods)),
            recall(ours), multiplications(ours),
        ])
    return simple_table(
        ("layers", "lsh", "all", "lsh", "winner-take-all", "all", "recall", "multiplications"),
        rows, ((EMPTY, 1), ("without", 2), ("whitened", 5)),
    )


def workers(folder):
    """Lock-free: points that more workers lose or gain, with the same seeds as one."""
    runs = {}
    for line in recorded(folder / "convergence.csv"):
        if line["network"] == "lsh" and line["depth"] == "3":
            place = line["set"], line["kind"], int(line["workers"])
            runs.setdefault(place, {})[line["seed"]] = float(line["accuracy"])
    numbers_of = {
        kind: sorted({n for _, k, n in runs if k == kind and n > 1})
        for kind in ("threads", "simulated")
    }
    rows = []
    for name in SETS:
        one = runs.get((name, "threads", 1), {})
        rows.append([TITLES[name], f"{np.mean(list(one.values())):.4f}" if one else EMPTY])
        for kind, n in ((kind, n) for kind, all_n in numbers_of.items() for n in all_n):
            points, error, seeds = difference(runs.get((name, kind, n), {}), one)
            rows[-1].append(f"{points} ({error}; {seeds})" if seeds != EMPTY else EMPTY)
    return simple_table(
        ("data", "1", *(str(n) for all_n in numbers_of.values() for n in all_n)), rows,
        ((EMPTY, 1), *((kind, len(all_n) + (kind == "threads"))
                       for kind, all_n in numbers_of.items() if all_n)),
    )


def searches(folder):
    """Ways to search, on MNIST."""
    named = {"default": "default", "scan": "every layer scanned", "tables": "hash tables alone",
             "paper": "the paper's own"}
    lines, rows = fullest(read(folder / "searches.csv")), []
    for search, depth in product(named, DEPTHS):
        here = [x for x in lines if (x["search"], x["depth"]) == (search, depth)]
        rows.append([
            named[search] if depth == DEPTHS[0] else EMPTY, depth, mean(here), recall(here),
            multiplications(here),
        ])
    return simple_table(("search", "layers", "accuracy", "recall", "multiplications"), rows)


def dead_nodes(folder):
    """Networks as they are, and with their dead nodes revived."""
    lines, rows = fullest(read(folder / "dead_nodes.csv")), []
    methods = {WINNER + "_soft": "winner-take-all", OURS: "hashing"}
    for name, depth, method in product(SETS, DEPTHS, methods):
        here = [x for x in lines if (x["set"], x["depth"], x["method"]) == (name, depth, method)]
        if here:
            rows.append([
                EMPTY if any(row[0] == TITLES[name] for row in rows) else TITLES[name],
                depth, methods[method],
                *(mean([x for x in here if x["revived"] == revived]) for revived in "01"),
            ])
    return simple_table(("data", "layers", "selection", "as it is", "revived"), rows)


def selection_cost(folder):
    """Microseconds of selecting, by width; recall and multiplications of the default."""
    by_width = {}
    for line in fullest(read(folder / "selection_cost.csv"), width=None):
        by_width.setdefault(int(line["width"]), {})[line["search"]] = line
    rows = []
    for width, lines in sorted(by_width.items()):
        ours = lines["default"]
        rows.append([
            f"{width:,}",
            *(f"{float(lines[search]['microseconds']):.0f}" if search in lines else EMPTY
              for search in ("exact", "scan", "tables", "cells", "default")),
            f"{float(ours['recall']):.3f}", f"{float(ours['multiplications']):,.0f}",
        ])
    return simple_table(
        ("nodes", "exact", "scan", "tables", "cells", "default", "recall", "multiplications"), rows
    )


TABLES = (
    accuracy, shares, means, paper_solver, whitened, workers, searches, dead_nodes, selection_cost,
)


def simple_table(columns, rows, groups=()):
    """A simple table of reStructuredText.

    Parameters
    ----------
    columns : sequence of str
    rows : sequence of sequences of str
    groups : sequence of (str, int)
        Titles above so many columns each, or none.

    Returns
    -------
    text : str
    """
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    titles, lines, start = [], [], 0
    for title, n in groups:
        span = sum(widths[start : start + n]) + 2 * (n - 1)
        widths[start + n - 1] += max(0, len(title) - span)
        span = max(span, len(title))
        titles.append(title.ljust(span))
        lines.append("-" * span)
        start += n
    rule = "  ".join("=" * width for width in widths)
    head = [rule, "  ".join(titles).rstrip(), "  ".join(lines)] if groups else [rule]
    body = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (columns, *rows)
    ]
    return "\n".join([*head, body[0], rule, *body[1:], rule]) + "\n"


def texts(folder):
    """The text of every table by its name."""
    return {
        table.__name__: f".. made by benchmarks/paper/tables.py\n\n{table(folder)}"
        for table in TABLES
    }


def main(argv=None):
    args = results_option(__doc__).parse_args(argv)
    folder = args.results / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts(args.results).items():
        (folder / f"{name}.rst").write_text(text)
    print(f"{folder}: {', '.join(table.__name__ for table in TABLES)}")


if __name__ == "__main__":
    main()
