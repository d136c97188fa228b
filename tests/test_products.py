"""Products with a layer's weights: NumPy's, to the bit whatever the number of threads."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from threadpoolctl import threadpool_limits

from sklearn_lsh._products import TOGETHER, products


@pytest.mark.parametrize("order", ["C", "F"], ids=["by node", "by input"])
@pytest.mark.parametrize("n_in, n_columns", [(1, 1), (3, 0), (37, 5), (300, 65)])
@pytest.mark.parametrize("n_nodes", [0, 1, TOGETHER - 1, TOGETHER, 2 * TOGETHER + 3])
def test_products(n_nodes, n_in, n_columns, order):
    rng = np.random.default_rng(0)
    weights = np.asarray(rng.standard_normal((n_nodes, n_in)), np.float32, order=order)
    columns = rng.standard_normal((n_in, n_columns)).astype(np.float32)
    with threadpool_limits(1):
        one, *others = [products(weights, columns, n_threads) for n_threads in (1, 2, 3, 5)]
    assert one.dtype == np.float32 and one.flags.c_contiguous
    assert_allclose(one, weights.astype(float) @ columns, rtol=1e-4, atol=1e-4)
    for other in others:
        assert_array_equal(other, one)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_overflow_is_silent(n_threads):
    huge = np.full((2 * TOGETHER, 4), 3e38, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isinf(products(huge, huge[:4], n_threads)).all()
