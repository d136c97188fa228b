"""The learning rate of every method, data set, depth and solver, by one small search.

Each candidate trains for a few epochs on four fifths of some training rows and is judged on
the rest; the test set is never seen. Candidates lie around the solver's "auto" rate; if the
best is at an end of those tried, the next one is tried too. Active shares take the rate found
at the nearest of two.
"""

import sys
from functools import partial

import numpy as np
from _networks import BATCH, is_standard, network, rows, scored, training
from _runs import Results, execute

from sklearn_lsh.core.optimizers import SOLVERS

ROWS, EPOCHS, SEED = 10_000, 5, 1000
SHARES = (0.05, 0.5)
# Multiples of the solver's rate; those from FIRST to LAST are always tried.
LADDER = (0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
FIRST, LAST = 3, 6
KEY = ("set", "method", "depth", "share", "width", "solver", "batch", "rows", "learning_rate")


class Rates:
    """Learning rates from a search that is done once and kept in learning_rates.csv.

    Parameters
    ----------
    args : Namespace
        Of ``_runs.parse``.
    """

    def __init__(self, args):
        self.args = args
        self.results = Results(
            args.results / "learning_rates.csv", KEY, ("held_out_accuracy", "title")
        )

    def search(self, configs):
        """Find the rates of all these configurations; ends the program if time is over."""
        problems = {tuple(p.values()): p for p in map(self.problem, configs)}.values()
        while True:
            # Once more for the rungs that the last round made necessary.
            candidates = [p | {"learning_rate": r} for p in problems for r in self.rungs(p)]
            if all(candidate in self.results for candidate in candidates):
                return
            judge = partial(held_out, threads=self.args.threads)
            if not execute(self.results, candidates, judge, self.args):
                sys.exit()

    def given(self, configs):
        """The configurations with the rates found for them."""
        self.search(configs)
        return [config | {"learning_rate": self.best(config)} for config in configs]

    def best(self, config):
        """The rate of a configuration that was searched for."""
        problem = self.problem(config)
        return max(self.rungs(problem), key=lambda rate: self.accuracy(problem, rate))

    def problem(self, config):
        """What a search is done for."""
        n_train = config.get("n_train", "all")
        return {
            "set": config["set"],
            "method": config["method"],
            "depth": config["depth"],
            "share": nearest(config["share"]) if not is_standard(config["method"]) else 1.0,
            "width": config["width"],
            "solver": config["solver"],
            "batch": config.get("batch", BATCH),
            "rows": ROWS if n_train == "all" else min(ROWS, n_train),
        }

    def rungs(self, problem):
        """Rates to try, given what has been tried."""
        low, high = FIRST, LAST
        rates = [float(f"{f * SOLVERS[problem['solver']].auto_learning_rate:.3g}") for f in LADDER]
        while all(problem | {"learning_rate": r} in self.results for r in rates[low : high + 1]):
            best = max(
                range(low, high + 1), key=lambda rung: self.accuracy(problem, rates[rung])
            )
            if best == low > 0:
                low -= 1
            elif best == high < len(rates) - 1:
                high += 1
            else:
                break
        return rates[low : high + 1]

    def accuracy(self, problem, rate):
        return float(self.results[problem | {"learning_rate": rate}]["held_out_accuracy"])


def nearest(share):
    """The searched share nearest to another by ratio."""
    return min(SHARES, key=lambda searched: abs(np.log(searched / share)))


def held_out(candidate, threads=1):
    """Accuracy of one candidate on held-out training rows, 0 if it diverged."""
    data = rows(candidate["set"], candidate["rows"], 1)
    n = len(data.X_train) * 4 // 5
    clf = network(candidate | {"seed": SEED}, threads)
    accuracy = 0.0
    if all(goes_on for _, goes_on in training(clf, data.X_train[:n], data.y_train[:n], EPOCHS)):
        accuracy = scored(clf, data.X_train[n:], data.y_train[n:])
    return {"held_out_accuracy": round(accuracy, 5), "title": data.title}
