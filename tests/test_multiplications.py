"""history_["multiplications"] against the formula, term by term.

With the identity activation no active node drops out, so what an example costs follows from its
non-zeros, the active set and the widths alone.
"""

import numpy as np
import pytest
from problems import digits, quick
from scipy.sparse import csr_array

from sklearn_lsh.core.subspace import principal_subspace

X, Y = digits(200)
N_IN, N, K, N_OUT = X.shape[1], 120, 20, 10
DENSE = 2 * N_IN * N + 3 * N * N_OUT


def nonzeros():
    """What a row costs: its non-zeros, or every entry where more than half are set."""
    nnz = (X != 0).sum(axis=1)
    return np.where(2 * nnz > N_IN, N_IN, nnz)


def counted(**params):
    """Multiplications of one epoch, per example."""
    estimator = quick((N,), activation="identity", active_fraction=K, max_iter=1, **params)
    return estimator.fit(X, Y).history_["multiplications"][0] * DENSE


def test_winner_take_all():
    first = (N + K) * nonzeros().mean()  # every activation; the winners' gradients
    assert counted(selection="winner_take_all") == pytest.approx(first + 3 * K * N_OUT)


def test_all():
    assert counted(selection="all") == pytest.approx(2 * N * nonzeros().mean() + 3 * N * N_OUT)


def test_cascade_over_a_scan():
    """Sketch of the input, scan, short list, gradients, sketches of the updated rows, output."""
    x, dim = nonzeros().mean(), 16
    example = dim * x + N * dim + 2 * K * x + K * x + K * dim + 3 * K * N_OUT
    # One basis for the epoch, and every row's sketch in it.
    prior = np.zeros(N_IN), np.zeros((N_IN, dim - 1)), np.zeros(dim - 1), 0
    rng = np.random.default_rng(0)
    basis = principal_subspace(csr_array(X.astype(np.float32)), dim - 1, rng, prior)[-1]
    assert counted() == pytest.approx(example + (basis + N * N_IN * dim) / len(X))


def test_tables():
    """At least the query's sketch and projections, the active nodes twice, and the output."""
    x, planes = nonzeros().mean(), 2 * 5
    tables = counted(hash_search="tables", hash_bits=5, hash_tables=2, hash_probes=1)
    assert tables > 16 * x + 16 * planes + 2 * K * x + 3 * K * N_OUT
