"""Products with a layer's weights: NumPy's, to the bit whatever the number of threads."""

import os
import signal
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from threadpoolctl import threadpool_info, threadpool_limits

from sklearn_lsh._products import TOGETHER, one_blas_thread, products
from sklearn_lsh.core.engine import max_threads


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


def blas_threads():
    return {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}


def test_one_blas_thread():
    with threadpool_limits(3):
        before, openmp = blas_threads(), max_threads()
        with one_blas_thread():
            assert blas_threads() <= {1} and max_threads() == 1
        with pytest.raises(KeyError), one_blas_thread():
            raise KeyError
        assert blas_threads() == before and max_threads() == openmp


def test_one_blas_thread_at_a_time():
    """In each thread; overlapping, the last would put back the limit that the first has set."""
    inside, most, openmp = [], [], []

    def enter(name):
        before = max_threads()
        with one_blas_thread():
            inside.append(name)
            time.sleep(0.01)
            most.append(len(inside))
            inside.remove(name)
        openmp.append(max_threads() == before)

    before = blas_threads()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(enter, range(12)))
    assert most == [1] * 12 and all(openmp)
    assert blas_threads() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_thread_that_a_fork_leaves_behind():
    """It may be inside; the child is neither limited by it nor waits for it."""
    left, forked = Event(), Event()

    def stay():
        with one_blas_thread():
            left.set()
            forked.wait(60)

    with threadpool_limits(3), ThreadPoolExecutor(1) as pool:
        before = blas_threads()
        staying = pool.submit(stay)
        left.wait(60)
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            free = blas_threads() == before
            with one_blas_thread():
                os._exit(0 if free else 1)
        forked.set()
        staying.result()
        assert os.waitpid(child, 0)[1] == 0
