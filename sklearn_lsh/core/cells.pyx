"""Sketches in, candidate ids out: a partition of the nodes that follows their sketches.

Sign projections cut space blindly, whatever the rows of a trained layer look like. Cells are
drawn where the rows are (k-means, of the rows that are long enough to matter), and a query
visits the few cells that may hold its largest inner products.
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from libc.math cimport fabsf, sqrtf

from .kernels cimport kernels
from .tables cimport HashTables
from .types cimport Scratch, int32_t, int64_t, real, reals

# How far beyond its centroid a cell is expected to reach towards the query, in units of the
# members' rms distance from it. Members lie in random directions: few reach a full spread.
cdef real REACH = 0.5
# k-means sees this many rows a cell, those of the longest sketches.
ROWS_PER_CELL = 32
KMEANS_STEPS = 8


cdef class Cells:
    """k-means cells over the rows' sketches.

    Parameters
    ----------
    arrays : dict
        From ``partition``, with ``n_probes`` (int), the cells visited for a query; arrays are
        owned by the caller.
    """

    def __init__(self, arrays):
        self.arrays = arrays
        self.n_cells, self.dim = arrays["centroids"].shape
        self.n_probes = arrays["n_probes"]
        self.centroids = reals(arrays["centroids"])
        self.half_norms = reals(arrays["half_norms"])
        self.spread = reals(arrays["spread"])

    cdef int32_t nearest(self, const real *sketch, Scratch *s) noexcept nogil:
        """The cell that a row with this sketch belongs to."""
        cdef int32_t c, best = 0
        kernels.row_dots(self.centroids, self.n_cells, self.dim, sketch, s.score)
        for c in range(1, self.n_cells):
            if s.score[c] - self.half_norms[c] > s.score[best] - self.half_norms[best]:
                best = c
        s.multiplications += <int64_t> self.n_cells * self.dim
        return best

    cdef int32_t collect(
        self, HashTables members, const real *query, bint by_magnitude, Scratch *s
    ) noexcept nogil:
        """The nodes of the n_probes most promising cells to s.ids; how many there are."""
        cdef int32_t c, t, j, n = 0
        cdef real reach = REACH * sqrtf(kernels.sum_squares(query, self.dim))
        kernels.row_dots(self.centroids, self.n_cells, self.dim, query, s.score)
        for c in range(self.n_cells):
            if by_magnitude:
                s.score[c] = fabsf(s.score[c])
            s.score[c] += reach * self.spread[c]
        s.multiplications += <int64_t> self.n_cells * (self.dim + 1) + self.dim
        kernels.top(s.score, NULL, self.n_cells, self.n_probes, s.key, s.chosen)
        for t in range(self.n_probes):
            j = members.head[s.chosen[t]]
            while j >= 0:
                s.ids[n] = j
                n += 1
                j = members.after[j]
        return n


def partition(sketches, n_cells, rng):
    """Divide rows into k-means cells.

    Parameters
    ----------
    sketches : ndarray of shape (n_nodes, dim), float32
    n_cells : int
        At most n_nodes.
    rng : numpy.random.Generator

    Returns
    -------
    arrays : dict
        ``centroids`` (n_cells, dim), ``half_norms`` and ``spread`` (n_cells,), float32.
    cell : ndarray of shape (n_nodes,), int32
        Where each row belongs.
    multiplications : int
    """
    from sklearn.cluster import KMeans  # slow to import, and only wide layers need it

    norms = np.linalg.norm(sketches - sketches.mean(axis=0), axis=1)
    n_rows = min(len(sketches), ROWS_PER_CELL * n_cells)
    longest = np.argpartition(-norms, n_rows - 1)[:n_rows]
    kmeans = KMeans(
        n_cells, init="random", n_init=1, max_iter=KMEANS_STEPS, tol=0,
        random_state=int(rng.integers(2**31)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal rows: some cells stay empty
        centroids = kmeans.fit(sketches[longest]).cluster_centers_.astype(np.float32)
    cell = np.empty(len(sketches), np.int32)
    half_norms = 0.5 * np.einsum("ij,ij->i", centroids, centroids)
    for start in range(0, len(sketches), 4096):
        rows = slice(start, start + 4096)
        cell[rows] = np.argmax(sketches[rows] @ centroids.T - half_norms, axis=1)
    squares = np.sum((sketches - centroids[cell]) ** 2, axis=1)
    members = np.maximum(np.bincount(cell, minlength=n_cells), 1)
    spread = np.sqrt(np.bincount(cell, squares, n_cells) / members)
    arrays = {
        "centroids": centroids,
        "half_norms": half_norms.astype(np.float32),
        "spread": spread.astype(np.float32),
    }
    spent = sketches.shape[1] * n_cells * (len(sketches) + n_rows * kmeans.n_iter_)
    return arrays, cell, int(spent)


def cell_scores(arrays, queries, by_magnitude):
    """What ``Cells.collect`` ranks cells by, of many queries: (n_queries, n_cells)."""
    scores = queries @ arrays["centroids"].T
    if by_magnitude:
        scores = np.abs(scores)
    reach = REACH * np.linalg.norm(queries, axis=1, keepdims=True)
    return scores + reach * arrays["spread"]
