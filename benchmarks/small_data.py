"""Untuned accuracy on scikit-learn's small data sets, beside a default MLPClassifier.

5-fold cross-validation of scaled data, mean over three seeds of folds and weights. The bar:
no more than 1.5 points below MLPClassifier on any of them.
"""

import sys
import time
import warnings

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sklearn_lsh import LSHMLPClassifier

BAR, SEEDS = 0.015, (0, 1, 2)
LOADERS = {
    "digits": load_digits, "wine": load_wine, "breast_cancer": load_breast_cancer,
    "iris": load_iris,
}


def accuracy(kind, x, y):
    """Mean accuracy and seconds per fit."""
    started = time.perf_counter()
    scores = [
        cross_val_score(
            make_pipeline(StandardScaler(), kind(random_state=seed)), x, y,
            cv=StratifiedKFold(5, shuffle=True, random_state=seed),
        )
        for seed in SEEDS
    ]
    return np.mean(scores), (time.perf_counter() - started) / np.size(scores)


def main():
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(f"{'data':14} {'lsh':>7} {'MLP':>7} {'points':>7} {'lsh s':>7} {'MLP s':>7}")
    good = True
    for name, load in LOADERS.items():
        x, y = load(return_X_y=True)
        (ours, our_time), (theirs, their_time) = (
            accuracy(kind, x, y) for kind in (LSHMLPClassifier, MLPClassifier)
        )
        good &= ours >= theirs - BAR
        print(f"{name:14} {ours:7.4f} {theirs:7.4f} {100 * (ours - theirs):+7.2f} "
              f"{our_time:7.2f} {their_time:7.2f}")
    return 0 if good else 1


if __name__ == "__main__":
    with threadpool_limits(1):
        sys.exit(main())
