"""Networks from configurations, and training with all recorded that is needed to judge it."""

import warnings
from dataclasses import replace
from functools import lru_cache

import numpy as np
from _runs import parts, spaced
from _sets import load
from sklearn.exceptions import ConvergenceWarning

from sklearn_lsh import LSHMLPClassifier
from sklearn_lsh.inspection import active_set_recall

# Our method in experiments of one: hashing with the library's default threshold.
OURS = "lsh_soft"
# Examples in a batch, unless an experiment sets it: the library's default.
BATCH = 32
# Test rows that recall is measured on.
RECALL_ROWS = 1000
# What `trained` returns. Of cells with several numbers, `accuracies` and `seconds_by_epoch`
# have one an epoch, `recall`, `lowest_recall` and `dead_nodes` one a hidden layer.
TRAINED = (
    "accuracy", "best_accuracy", "best_epoch", "accuracies", "recall", "lowest_recall",
    "multiplications", "dead_nodes", "seconds", "seconds_by_epoch", "diverged", "title", "rows",
)


class Asynchronous(LSHMLPClassifier):
    """Trained by simulated workers, each reading weights before the others' updates arrive."""

    #: Simulated workers; 0 stands for the real threads of n_jobs.
    workers = 0

    def _options(self):
        return replace(super()._options(), n_simulated=self.workers)


def network(config, threads=1):
    """The estimator that a configuration describes.

    Methods select hard, as the paper does and winner-take-all networks are known; with the
    ending "_soft" as the library does unless told otherwise. So it is with "_whitened", after it:
    without, no direction of the input is whitened, nor was in the paper; and with "_averaged".
    Where the configuration names no workers, threads wait for each other: no result depends on
    how many there are.
    """
    selection, soft, whitened, averaged = parts(config["method"])
    workers = config.get("workers", threads)
    real = config.get("kind", "threads") == "threads"
    # Momentum is left to the solver that needs it: the paper's.
    clf = (LSHMLPClassifier if real else Asynchronous)(
        (config["width"],) * config["depth"],
        selection=selection,
        active_threshold="soft" if soft else "hard",
        n_whitened="auto" if whitened else 0,
        average=averaged,
        active_fraction=config["share"],
        solver=config["solver"],
        learning_rate_init=config["learning_rate"],
        momentum=0.5 if config["solver"] == "adagrad" else 0.0,
        batch_size=config.get("batch", BATCH),
        random_state=config["seed"],
        n_jobs=workers if real else None,
        lock_free="workers" in config,  # as in the paper
    )
    if not real:
        clf.workers = workers
    return clf


def is_standard(method):
    """Whether all nodes are active."""
    return parts(method)[0] == "all"


@lru_cache(2)
def rows(name, n_train, n_test):
    """A data set; "all" takes every training row there is."""
    return load(name, None if n_train == "all" else n_train, n_test)


def trained(clf, data, epochs):
    """Train for so many epochs, measuring after each; with the mean of weights after all.

    Parameters
    ----------
    clf : LSHMLPClassifier
        Not fitted.
    data : DataSet
    epochs : int

    Returns
    -------
    found : dict
        With the keys TRAINED. Accuracy is that on the test rows. Where training diverged it is
        0, with the epoch in ``diverged``.
    """
    accuracies, recalls, diverged = [], [], ""
    for epoch, goes_on in training(clf, data.X_train, data.y_train, epochs):
        if not goes_on:
            diverged = epoch
            break
        accuracies.append(scored(clf, data.X_test, data.y_test))
        if clf.selection == "lsh":
            recalls.append(active_set_recall(clf, data.X_test[:RECALL_ROWS]))
    found = dict.fromkeys(TRAINED, "") | {
        "accuracy": 0.0, "diverged": diverged, "title": data.title, "rows": len(data.X_train),
    }
    if accuracies:
        history = clf.history_
        found |= {
            "accuracy": 0.0 if diverged else round(accuracies[-1], 5),
            "best_accuracy": round(max(accuracies), 5),
            "best_epoch": "" if clf.average else int(np.argmax(accuracies)) + 1,
            "accuracies": spaced(accuracies),
            "multiplications": f"{history['multiplications'].mean():.5f}",
            "dead_nodes": " ".join(map(str, history["dead_nodes"][-1])),
            "seconds": f"{np.median(history['seconds']):.3f}",
            "seconds_by_epoch": spaced(history["seconds"], 2),
        }
    if recalls:
        found["recall"] = spaced(recalls[-1])
        # The first epoch starts with random weights, among which no node stands out.
        found["lowest_recall"] = spaced(np.min(recalls[1:] or recalls, axis=0))
    return found


def scored(clf, X, y):
    """Accuracy; 0 where weights have grown so large that outputs overflow."""
    try:
        return clf.score(X, y)
    except ValueError as error:
        if "overflow" not in str(error):
            raise
        return 0.0


def training(clf, X, y, epochs):
    """Train for so many epochs; yields the number of each, and False where training diverged.

    After each, but for the mean of weights: only ``fit`` ends with it.
    """
    classes = np.unique(y)
    if clf.average:
        clf.set_params(max_iter=epochs, tol=0, n_iter_no_change=epochs)
    for epoch in [epochs] if clf.average else range(1, epochs + 1):
        goes_on = passed(clf, X, y, classes)
        yield epoch, goes_on
        if not goes_on:
            break


def passed(clf, X, y, classes):
    """One epoch, or with the mean of weights ``fit``; False if training diverged."""
    with warnings.catch_warnings():
        # Of single refused updates; that there may be more epochs to gain from.
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            if clf.average:
                clf.fit(X, y)
            else:
                clf.partial_fit(X, y, classes=classes)
        except ValueError as error:
            if "diverged" not in str(error):
                raise
            return False
    return True
