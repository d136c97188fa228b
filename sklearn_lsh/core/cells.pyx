"""Sketches in, candidate ids out: a partition of the nodes that follows their sketches.

Sign projections cut space blindly, whatever the rows of a trained layer look like. Cells are
drawn where the rows are (k-means, of the rows that are long enough to matter), and a query
visits the few cells that may hold its largest inner products.
"""

import numpy as np

from libc.math cimport fabsf, sqrtf

from .kernels cimport kernels
from .tables cimport HashTables
from .types cimport Scratch, int32_t, int64_t, real, reals

# How far beyond its centroid a cell is expected to reach towards the query, in units of the
# members' rms distance from it. Members lie in random directions: few reach a full spread.
cdef real REACH = 0.5


cdef class Cells:
    """k-means cells over the rows' sketches.

    Parameters
    ----------
    arrays : dict
        ``centroids`` (n_cells, dim), ``half_norms`` and ``spread`` (n_cells,), float32, owned
        by the caller; and ``n_probes`` (int), the cells visited for a query.
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
        kernels.row_dots(self.centroids, NULL, self.n_cells, self.dim, sketch, s.score)
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
        kernels.row_dots(self.centroids, NULL, self.n_cells, self.dim, query, s.score)
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


def cell_scores(arrays, queries, by_magnitude):
    """What ``Cells.collect`` ranks cells by, of many queries: (n_queries, n_cells)."""
    scores = queries @ arrays["centroids"].T
    if by_magnitude:
        scores = np.abs(scores)
    reach = REACH * np.linalg.norm(queries, axis=1, keepdims=True)
    return scores + reach * arrays["spread"]
