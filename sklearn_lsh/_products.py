"""Products with all rows of a layer's weights, and how many threads BLAS has for its own."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock

import numpy as np
from threadpoolctl import ThreadpoolController

# Nodes of one product. Always so many: no bit may depend on the number of threads.
TOGETHER = 512


def products(weights, columns, n_threads):
    """``weights @ columns``, the nodes divided among threads.

    The caller sees to it that NumPy's own threads are not at work, too.

    Parameters
    ----------
    weights : ndarray of shape (n_nodes, n_in), float32
    columns : ndarray of shape (n_in, n_columns), float32
    n_threads : int

    Returns
    -------
    ndarray of shape (n_nodes, n_columns), float32
        May overflow, silently.
    """
    found = np.empty((len(weights), columns.shape[1]), np.float32)

    def of(first):
        nodes = slice(first, first + TOGETHER)
        with np.errstate(over="ignore", invalid="ignore"):  # a thread does not inherit it
            np.matmul(weights[nodes], columns, out=found[nodes])

    blocks = range(0, len(weights), TOGETHER)
    if n_threads == 1 or len(blocks) == 1:
        for first in blocks:
            of(first)
    else:
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(of, blocks))
    return found


# What a process has of ``one_blas_thread``.
_held = {"lock": Lock(), "blas": None}


@contextmanager
def one_blas_thread():
    """NumPy and scikit-learn limited to one thread, for one thread of the process at a time.

    BLAS has one limit for the whole process: of two threads that each set it and put back what
    they found, the second would find, and put back, the limit of the first.
    """
    with _held["lock"]:
        libraries = ThreadpoolController()
        with (
            libraries.limit(limits=1, user_api="openmp"),
            libraries.limit(limits=1, user_api="blas") as blas,
        ):
            _held["blas"] = blas
            try:
                yield
            finally:
                _held["blas"] = None


def _let_go():
    """In a forked child, of what a thread held that is not there."""
    blas = _held["blas"]
    _held.update(lock=Lock(), blas=None)
    if blas is not None:
        blas.restore_original_limits()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
