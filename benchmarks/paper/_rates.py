"""The learning rate of every method, data set, depth and solver, by one small search.

Each candidate trains for a few epochs on four fifths of some training rows and is judged on
the rest; the test set is never seen. Candidates lie around the solver's "auto" rate; if the
best is at an end of those tried, the next one is tried too. Where rows are few, the best of these
is often so by chance, or only while training is short: with ``folds``, those that come close to
it are judged anew, after as many epochs as a run has, on several fifths in turn. Active shares
take the rate found at the nearest of two.
"""

import sys
from functools import partial

import numpy as np
from _networks import BATCH, is_standard, network, rows, scored, training
from _runs import EPOCHS, Results, execute

from sklearn_lsh.core.optimizers import SOLVERS

ROWS, FEW_EPOCHS, SEED = 10_000, 5, 1000
SHARES = (0.05, 0.5)
# Multiples of the solver's rate; those from FIRST to LAST are always tried.
LADDER = (0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
FIRST, LAST = 3, 6
# How far accuracies on one fifth, of 1,600 rows or more, are apart by chance: two standard errors.
CLOSE = 0.02
KEY = ("set", "method", "depth", "share", "width", "solver", "batch", "rows", "epochs",
       "fold", "learning_rate")


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
            # Once more for what the last round made necessary.
            candidates = [candidate for p in problems for candidate in self.candidates(p)]
            if all(candidate in self.results for candidate in candidates):
                return
            judge = partial(judged, threads=self.args.threads)
            if not execute(self.results, candidates, judge, self.args):
                sys.exit()

    def given(self, configs):
        """The configurations with the rates found for them."""
        self.search(configs)
        return [config | {"learning_rate": self.best(config)} for config in configs]

    def best(self, config):
        """The rate of a configuration that was searched for."""
        problem = self.problem(config)
        tried = {candidate["learning_rate"] for candidate in self.candidates(problem)}
        return self.winner(problem, sorted(tried))

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

    def candidates(self, problem):
        """What to judge, given what has been judged."""
        low, high = FIRST, LAST
        rates = [float(f"{f * SOLVERS[problem['solver']].auto_learning_rate:.3g}") for f in LADDER]
        while True:
            candidates = self.judgements(problem, rates[low : high + 1])
            if not all(candidate in self.results for candidate in candidates):
                return candidates
            best = rates.index(self.winner(problem, rates[low : high + 1]))
            if best == low > 0:
                low -= 1
            elif best == high < len(rates) - 1:
                high += 1
            else:
                return candidates

    def judgements(self, problem, rates):
        """What decides between these rates: all after few epochs, then those that are close."""
        first = [self.early(problem, rate) for rate in rates]
        if not all(candidate in self.results for candidate in first):
            return first
        close = self.close(problem, rates)
        if len(close) == 1:
            return first
        return first + [candidate for rate in close for candidate in self.late(problem, rate)]

    def early(self, problem, rate):
        return problem | {"epochs": FEW_EPOCHS, "fold": 0, "learning_rate": rate}

    def late(self, problem, rate):
        epochs = self.args.epochs or EPOCHS[problem["set"]]
        return [
            problem | {"epochs": epochs, "fold": fold, "learning_rate": rate}
            for fold in range(self.args.folds)
        ]

    def close(self, problem, rates):
        """Of the rates, the best after few epochs and, with folds, what may be so by chance."""
        accuracies = [self.accuracy(self.early(problem, rate)) for rate in rates]
        best = max(accuracies)
        if not self.args.folds:
            return [rates[accuracies.index(best)]]
        return [rate for rate, accuracy in zip(rates, accuracies, strict=True)
                if accuracy >= best - CLOSE]

    def winner(self, problem, rates):
        """The best of the close ones after all epochs, on all folds."""
        close = self.close(problem, rates)
        if len(close) == 1:
            return close[0]
        return max(close, key=lambda rate: sum(map(self.accuracy, self.late(problem, rate))))

    def accuracy(self, candidate):
        return float(self.results[candidate]["held_out_accuracy"])


def nearest(share):
    """The searched share nearest to another by ratio."""
    return min(SHARES, key=lambda searched: abs(np.log(searched / share)))


def judged(candidate, threads=1):
    """Accuracy of one candidate on held-out training rows, 0 if it diverged."""
    data = rows(candidate["set"], candidate["rows"], 1)
    held_out = fifth(len(data.X_train), candidate["fold"])
    X, y = data.X_train[~held_out], data.y_train[~held_out]
    clf = network(candidate | {"seed": SEED}, threads)
    accuracy = 0.0
    if all(goes_on for _, goes_on in training(clf, X, y, candidate["epochs"])):
        accuracy = scored(clf, data.X_train[held_out], data.y_train[held_out])
    return {"held_out_accuracy": round(accuracy, 5), "title": data.title}


def fifth(n, fold):
    """Mask of the rows of a fold; the first are the last rows."""
    held_out = np.zeros(n, bool)
    held_out[n * (4 - fold) // 5 : n * (5 - fold) // 5] = True
    return held_out
