"""Products with all rows of a layer's weights, on several threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

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
