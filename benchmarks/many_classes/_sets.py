"""The data of these benchmarks: three files where they are at hand, and a generated family.

``SKLEARN_LSH_DATA`` names the folder of the files. The planted family needs none: each class
has a signature of 16 features, a row shows 10 of them among 20 that mean nothing, and one label
in five is exchanged for a random one. Signatures are so unlike that a row tells its class (that
another class explains it as well has a probability below 1e-6), so the best P@1 is known.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import sparse

FILES = ("delicious", "debian_deps", "debian_words")
SIGNATURE, SHOWN, NOISE = 16, 10, 20
EXCHANGED = 0.2


class Problem(NamedTuple):
    """Rows are CSR, float32; targets class vectors or CSR indicators."""

    X_train: sparse.csr_array
    Y_train: object
    X_test: sparse.csr_array
    Y_test: object
    n_labels: int
    bayes: float = np.nan  # P@1 of the best predictor, where it is known


def load(name, n_train=None, n_test=None):
    """A file's problem, or a planted one: ``planted-10000`` has as many classes."""
    if name.startswith("planted-"):
        planted = Planted(int(name.split("-")[1]))
        train, test = planted.batch(n_train or 200_000, 1), planted.batch(n_test or 10_000, 0)
        return Problem(*train, *test, planted.n_classes, planted.bayes)
    folder = os.environ.get("SKLEARN_LSH_DATA")
    path = Path(folder or ".") / f"{name}.npz"
    if not folder or not path.exists():
        raise SystemExit(f"{name}.npz was not found: SKLEARN_LSH_DATA must name its folder.")
    with np.load(path) as data:
        X, Y = zip(*(
            (matrix(data, f"X_{part}")[:n], target(data, part, n))
            for part, n in (("train", n_train), ("test", n_test))
        ), strict=True)
    n_labels = Y[0].shape[1] if sparse.issparse(Y[0]) else int(max(y.max() for y in Y)) + 1
    return Problem(X[0], Y[0], X[1], Y[1], n_labels)


def matrix(data, name):
    indices, indptr = (data[f"{name}_{part}"].astype(np.int32) for part in ("indices", "indptr"))
    values = data[f"{name}_data"] if f"{name}_data" in data else np.ones(len(indices))
    return sparse.csr_array((values.astype(np.float32), indices, indptr),
                            shape=tuple(data[f"{name}_shape"]))


def target(data, part, n):
    return data[f"y_{part}"][:n] if f"y_{part}" in data else matrix(data, f"Y_{part}")[:n]


def indicator(y, n_labels):
    """A class vector as CSR indicator; an indicator as it is."""
    if sparse.issparse(y):
        return y
    return sparse.csr_array(
        (np.ones(len(y), np.float32), y, np.arange(len(y) + 1)), shape=(len(y), n_labels)
    )


class Planted:
    """Classes with signatures, the frequent ones far more frequent (Zipf's law).

    Parameters
    ----------
    n_classes : int
    n_features : int, default=100_000
    seed : int, default=0
    """

    def __init__(self, n_classes, n_features=100_000, seed=0):
        self.n_classes, self.n_features, self.seed = n_classes, n_features, seed
        share = 1 / np.arange(1.0, n_classes + 1)
        share /= share.sum()
        self.bayes = 1 - EXCHANGED + EXCHANGED * float(np.sum(share**2))
        self.upto = np.cumsum(share)
        self.named = np.random.default_rng(seed).permutation(n_classes)

    def batch(self, n_rows, number):
        """Rows (CSR, float32, L2-normalised) and classes; the same for the same number."""
        rng = np.random.default_rng([self.seed, number])
        shown, said = self.drawn(rng, n_rows), self.drawn(rng, n_rows)
        which = rng.permuted(np.tile(np.arange(SIGNATURE), (n_rows, 1)), axis=1)[:, :SHOWN]
        features = np.hstack([
            scrambled(shown[:, None] * SIGNATURE + which) % self.n_features,
            rng.integers(0, self.n_features, (n_rows, NOISE)),
        ]).astype(np.int32)
        X = sparse.csr_array(
            (np.full(features.size, (SHOWN + NOISE) ** -0.5, np.float32), features.ravel(),
             np.arange(n_rows + 1, dtype=np.int32) * (SHOWN + NOISE)),
            shape=(n_rows, self.n_features),
        )
        X.sum_duplicates()
        return X, np.where(rng.random(n_rows) < EXCHANGED, said, shown)

    def drawn(self, rng, n_rows):
        rank = np.searchsorted(self.upto, rng.random(n_rows))
        return self.named[np.minimum(rank, self.n_classes - 1)]


def scrambled(numbers):
    """Whole numbers as pseudo-random ones (the finaliser of SplitMix64)."""
    x = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))) >> np.uint64(1)
