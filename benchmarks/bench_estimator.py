"""Timings of the estimator: an epoch, small batches, single rows. One thread.

Without MNIST (see _data.py) deformed digits stand in. Needs pytest-benchmark.

    pytest benchmarks/bench_estimator.py --benchmark-group-by=func
"""

import numpy as np
import pytest
from _data import load_images

from sklearn_lsh import LSHMLPClassifier

N_TRAIN, N_TEST, CLASSES = 10_000, 2_000, np.arange(10)
NETWORKS = {"one_hidden": (1000,), "three_hidden": (1000, 1000, 1000)}


@pytest.fixture(scope="module")
def images():
    return load_images(N_TRAIN, N_TEST)[1:]


@pytest.fixture(scope="module", params=NETWORKS)
def clf(request, images):
    clf = LSHMLPClassifier(NETWORKS[request.param], active_fraction=0.05, random_state=0)
    for _ in range(2):
        clf.partial_fit(*images[:2], classes=CLASSES)
    return clf


def test_epoch(benchmark, clf, images):
    benchmark.pedantic(clf.partial_fit, images[:2], rounds=5)


@pytest.mark.parametrize("n_rows", [10, 100, 1000])
def test_partial_fit_on_few_rows(benchmark, clf, images, n_rows):
    benchmark(clf.partial_fit, images[0][:n_rows], images[1][:n_rows])


@pytest.mark.parametrize("n_rows", [1, N_TEST])
def test_predict_proba(benchmark, clf, images, n_rows):
    benchmark(clf.predict_proba, images[2][:n_rows])
