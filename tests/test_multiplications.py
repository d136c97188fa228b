"""history_["multiplications"] against the formula, term by term.

With the identity activation no active node drops out, so what an example costs follows from its
non-zeros, the active set and the widths alone.
"""

import numpy as np
import pytest
from problems import digits, quick
from scipy.sparse import csr_array

from sklearn_lsh._calibration import choose_cells
from sklearn_lsh._rehash import Rehasher
from sklearn_lsh.core.hashing import Subspace
from sklearn_lsh.core.subspace import principal_subspace

# As of sparse input, but for the tests that say otherwise.
pytestmark = pytest.mark.usefixtures("lazy_mean")

X, Y = digits(200)
N_IN, N, K, N_OUT = X.shape[1], 120, 20, 10
DENSE = 2 * N_IN * N + 3 * N * N_OUT


def nonzeros():
    """What a row costs: its non-zeros, or every entry where more than half are set."""
    nnz = (X != 0).sum(axis=1)
    return np.where(2 * nnz > N_IN, N_IN, nnz)


def counted(**params):
    """Multiplications of one epoch, per example."""
    return per_example(trained(**params))


def trained(**params):
    return quick((N,), activation="identity", active_fraction=K, max_iter=1, **params).fit(X, Y)


def per_example(estimator):
    return estimator.history_["multiplications"][0] * DENSE


def test_winner_take_all():
    first = (1 + N + K) * nonzeros().mean()  # the mean; every activation; winners' gradients
    assert counted(selection="winner_take_all") == pytest.approx(first + 3 * K * N_OUT)


@pytest.mark.parametrize("solver", ["sgd", "adagrad"])
def test_solvers_that_do_not_centre_save_the_product_with_the_mean(solver):
    saved = counted(selection="all") - counted(selection="all", solver=solver)
    assert saved == pytest.approx(nonzeros().mean())


def test_all():
    first = (1 + 2 * N) * nonzeros().mean()
    assert counted(selection="all") == pytest.approx(first + 3 * N * N_OUT)


@pytest.mark.parametrize("solver", ["rowwise_adagrad", "sgd", "adagrad"])
@pytest.mark.parametrize("selection, k", [("all", N), ("winner_take_all", K)])
def test_dense_input(monkeypatch, selection, k, solver):
    """Centred at once: three times its length, and every weight of a row moves."""
    monkeypatch.setattr("sklearn_lsh._data.DENSE", 0.25)
    first = N * nonzeros().mean() + (3 + k) * N_IN
    found = counted(selection=selection, solver=solver)
    assert found == pytest.approx(first + 3 * k * N_OUT)


def renewal(select):
    """What the renewal before the first example costs, of the first layer, all rows held out.

    The exact activations, a basis for the longest sketches, those of every row, and what they
    estimate; and recall: the input's product with the mean, what selecting nodes costs, and all
    activations.
    """
    longest = max(Subspace.lengths)
    prior = np.zeros(N_IN), np.zeros((N_IN, 15)), np.zeros(15), 0
    sample, rng = csr_array(X.astype(np.float32)), np.random.default_rng(0)
    basis = principal_subspace(sample, longest - 1, rng, prior)[-1]
    calibration = N * sample.nnz + basis + N * N_IN * longest + N * longest * len(X)
    recall = select + (1 + N) * nonzeros().mean()
    return calibration + recall * len(X)


def test_cascade_over_a_scan():
    """Mean, sketch of the input, scan, short list, gradients, updated rows' sketches, output."""
    estimator, x = trained(hash_search="scan"), nonzeros().mean()
    hashing = estimator._network.state["layers"][0]["hashing"]
    dim = hashing["sketches"].shape[1]
    select = dim * x + N * dim + hashing["short_list"] * x
    example = x + select + K * x + K * dim + 3 * K * N_OUT
    spent = example + renewal(select) / len(X)
    assert per_example(estimator) == pytest.approx(spent)


def test_cascade_over_cells(monkeypatch):
    """As over a scan, but cells are ranked first, and rows that left theirs are filed anew.

    With every cell visited all nodes are candidates: their number does not depend on luck.
    """
    partitions, filed, file = [], [], Rehasher._file

    def count_filed(rehasher, index, nodes, **options):
        filed.append(len(nodes))
        file(rehasher, index, nodes, **options)

    def visit_all(*args):
        cells, cell, cost, spent = choose_cells(*args)
        partitions.append(spent)
        return {**cells, "n_probes": len(cells["spread"])}, cell, cost, spent

    monkeypatch.setattr("sklearn_lsh._renewal.choose_cells", visit_all)
    monkeypatch.setattr(Rehasher, "_file", count_filed)
    estimator, x = trained(hash_search="cells"), nonzeros().mean()
    hashing = estimator._network.state["layers"][0]["hashing"]
    dim, n_cells = hashing["sketches"].shape[1], 32  # the power of two from 2 sqrt(120)
    rank = n_cells * (dim + 1) + dim
    select = dim * x + rank + N * dim + hashing["short_list"] * x
    example = x + select + K * x + 2 * K * dim + 3 * K * N_OUT
    filing = sum(filed) * (1 + n_cells + 1) * dim  # a group, its cells, the distance from the best
    spent = example + (renewal(select) + sum(partitions) + filing) / len(X)
    assert len(partitions) == 1 and sum(filed) > 0
    assert per_example(estimator) == pytest.approx(spent)


def test_tables():
    """At least the query's sketch and projections, the active nodes twice, and the output."""
    x, planes = nonzeros().mean(), 2 * 5
    tables = counted(hash_search="tables", hash_bits=5, hash_tables=2, hash_probes=1)
    assert tables > 16 * x + 16 * planes + 2 * K * x + 3 * K * N_OUT
