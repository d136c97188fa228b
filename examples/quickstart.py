"""Quickstart: a wide network on images, 5 % of its nodes computed for each.

The images are scikit-learn's digits, enlarged to 24 x 24 and shifted at random.
"""

import os
import warnings

import numpy as np
from scipy.ndimage import shift, zoom
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from sklearn_lsh import LSHMLPClassifier
from sklearn_lsh.inspection import active_set_recall, active_sets

FAST = os.environ.get("SKLEARN_LSH_EXAMPLE_FAST") == "1"


def enlarged(images, rng):
    """Each 8 x 8 image as a row of 24 x 24 pixels in [0, 1], shifted by a few of them."""
    return np.array(
        [
            shift(zoom(image / 16, 3, order=1), rng.uniform(-2, 2, 2), order=1).ravel()
            for image in images
        ],
        dtype=np.float32,
    )


def main():
    rng = np.random.default_rng(0)
    images, y = load_digits(return_X_y=True)
    X = enlarged(images.reshape(-1, 8, 8), rng)
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

    clf = LSHMLPClassifier((1000,), max_iter=5 if FAST else 30, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # few epochs are enough here
        clf.fit(X_train, y_train)

    print(f"test accuracy      {clf.score(X_test, y_test):.3f}")
    print(f"active nodes       {clf.history_['active_fraction'][-1, 0]:.1%}")
    print(f"multiplications    {clf.history_['multiplications'][-1]:.1%} of the dense network's")
    print(f"candidates from    {clf.hash_search_[0]}")
    print(f"recall             {active_set_recall(clf, X_test)[0]:.3f} of the exact top nodes")

    # Which nodes answer to which digit? Sets of one class overlap more than those of two.
    sets = active_sets(clf, X_test)[0].astype(float)
    zeros, ones = sets[y_test == 0], sets[y_test == 1]
    within = (zeros @ zeros.T).mean() / zeros.sum(axis=1).mean()
    across = (zeros @ ones.T).mean() / zeros.sum(axis=1).mean()
    print(f"shared by two 0s   {within:.0%} of the active nodes; by a 0 and a 1: {across:.0%}")


if __name__ == "__main__":
    main()
