"""Timings of the kernels, at every instruction-set level this processor runs.

Sizes are those of one example in a layer of 1000 nodes, 50 of them active, over MNIST.
Needs pytest-benchmark.

    pytest benchmarks/bench_kernels.py --benchmark-group-by=func
"""

import numpy as np
import pytest

from sklearn_lsh.core import kernels

N_NODES, N_IN, N_SET, N_ACTIVE, N_LISTED = 1000, 784, 150, 50, 110
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(N_NODES, N_IN)).astype(np.float32)
LISTED = np.sort(RNG.permutation(N_NODES)[:N_LISTED]).astype(np.int32)
ACTIVE = LISTED[:N_ACTIVE].copy()
# Coordinates all over, and clustered as pixels are.
SCATTERED = np.sort(RNG.permutation(N_IN)[:N_SET]).astype(np.int32)
CLUSTERED = np.concatenate([np.arange(30 * r, 30 * r + 10) for r in range(N_SET // 10)])
CLUSTERED = CLUSTERED.astype(np.int32)
VALUES = RNG.normal(size=N_SET).astype(np.float32)
RUN, RUN_VALUES = kernels.find_runs(CLUSTERED, VALUES, N_IN, N_IN)
SCORES = RNG.normal(size=N_NODES).astype(np.float32)


@pytest.fixture(params=kernels.levels(), autouse=True)
def level(request):
    before = kernels.level()
    kernels.set_level(request.param)
    yield request.param
    kernels.set_level(before)


@pytest.mark.parametrize("dim", [16, 32, 64])
def test_scan(benchmark, dim):
    sketches = RNG.normal(size=(N_NODES, dim)).astype(np.float32)
    out = np.empty(N_NODES, np.float32)
    benchmark(kernels.row_dots, sketches, None, sketches[0].copy(), out)


def test_top(benchmark):
    benchmark(kernels.top_ids, SCORES, N_LISTED)


def test_exceeding(benchmark):
    benchmark(kernels.exceeding, SCORES, 1.64)


def test_gather_dots(benchmark):
    out = np.empty(N_LISTED, np.float32)
    benchmark(kernels.gather_dots, WEIGHTS, LISTED, SCATTERED, VALUES, out)


def test_run_dots(benchmark):
    out = np.empty(N_LISTED, np.float32)
    benchmark(kernels.run_dots, WEIGHTS, LISTED, RUN, RUN_VALUES, out)


def test_dense_dot(benchmark):
    benchmark(kernels.dot, None, WEIGHTS[0].copy(), WEIGHTS[1].copy())


def test_pull_back(benchmark):
    out = np.empty(N_SET, np.float32)
    benchmark(kernels.pull_back, WEIGHTS, ACTIVE, VALUES[:N_ACTIVE].copy(), SCATTERED, out)


def test_run_pull_back(benchmark):
    out = np.empty(RUN_VALUES.shape, np.float32)
    benchmark(kernels.run_pull_back, WEIGHTS, ACTIVE, VALUES[:N_ACTIVE].copy(), RUN, out)


def test_axpy(benchmark):
    benchmark(kernels.axpy, 1e-9, SCATTERED, VALUES, WEIGHTS[0].copy())


def test_run_outer(benchmark):
    steps = np.full(N_ACTIVE, 1e-9, np.float32)
    benchmark(kernels.run_outer, ACTIVE, steps, RUN, RUN_VALUES, WEIGHTS.copy())


@pytest.mark.parametrize("rule", ["sgd", "adagrad"])
@pytest.mark.parametrize("sparse", [True, False])
def test_optimizer(benchmark, rule, sparse):
    idx, val = (SCATTERED, VALUES) if sparse else (None, WEIGHTS[1].copy())
    state = np.ones((2, N_IN), np.float32)
    step = (1e-9, 0.01, 0.5, 1.0)  # gradient, learning rate, momentum, 1 / scale
    benchmark(kernels.optimizer_step, rule, step, idx, val, WEIGHTS[0].copy(), state)
