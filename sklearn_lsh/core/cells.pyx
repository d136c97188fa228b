"""Sketches in, candidate ids out: a partition of the nodes that follows their sketches.

Sign projections cut space blindly, whatever the rows of a trained layer look like. Cells are
drawn where the rows are (k-means, of the rows that are long enough to matter), and a query
visits the few cells that may hold its largest inner products. The sketches of a cell lie
together, so that visiting one is reading from end to end.
"""

import numpy as np

from libc.math cimport fabsf, sqrtf
from libc.string cimport memcpy

from .kernels cimport kernels
from .tables cimport CodeIndex
from .types cimport CHECK, Scratch, int32_t, int64_t, ints, real, reals

# How far beyond its centroid a cell is expected to reach towards the query, in units of the
# members' rms distance from it. Members lie in random directions: few reach a full spread.
cdef real REACH = 0.5

# Slots of a cell beyond those its members take: a share of them, and so many.
SPARE_SHARE = 0.25
SPARE_SLOTS = 8


cdef class Cells(CodeIndex):
    """k-means cells over the rows' sketches; the code of a node is its cell.

    Parameters
    ----------
    cells : dict
        ``centroids`` (n_cells, dim), ``half_norms`` and ``spread`` (n_cells,), float32, and
        ``n_probes`` (int), the cells visited for a query.
    index : dict
        From ``arranged``: ``node_codes`` (n_nodes, 1), ``start`` (n_cells + 1,), ``count``
        (n_cells,), ``ids`` (n_slots,) and ``place`` (n_nodes,), int32.
    sketches : ndarray of shape (n_slots, dim), float32
        That of node j is in slot ``place[j]``.
    """

    def __init__(self, cells, index, sketches):
        self.n_cells, self.dim = cells["centroids"].shape
        CodeIndex.__init__(self, index, 0)
        self.arrays = (cells, index, sketches)
        self.n_probes = cells["n_probes"]
        self.centroids = reals(cells["centroids"])
        self.half_norms = reals(cells["half_norms"])
        self.spread = reals(cells["spread"])
        self.sketches = reals(sketches)
        self.start = ints(index["start"])
        self.count = ints(index["count"])
        self.ids = ints(index["ids"])
        self.place = ints(index["place"])

    @staticmethod
    def arranged(cell, n_cells, sketches):
        """File nodes in their cells.

        Parameters
        ----------
        cell : ndarray of shape (n_nodes,), int32
        n_cells : int
        sketches : ndarray of shape (n_nodes, dim), float32

        Returns
        -------
        index : dict
        sketches : ndarray of shape (n_slots, dim), float32
        """
        count = np.bincount(cell, minlength=n_cells)
        room = count + (SPARE_SHARE * count).astype(int) + SPARE_SLOTS
        start = np.concatenate([[0], np.cumsum(room)]).astype(np.int32)
        order = np.argsort(cell, kind="stable")
        first = np.cumsum(count) - count
        slots = start[cell[order]] + np.arange(len(cell)) - first[cell[order]]
        place = np.empty(len(cell), np.int32)
        place[order] = slots
        ids = np.full(start[n_cells], -1, np.int32)
        ids[place] = np.arange(len(cell))
        rows = np.zeros((len(ids), sketches.shape[1]), np.float32)
        rows[place] = sketches
        index = {
            "node_codes": np.ascontiguousarray(cell, np.int32)[:, None],
            "start": start, "count": count.astype(np.int32), "ids": ids, "place": place,
        }
        return index, rows

    cdef void move(self, int32_t j, const int32_t *codes) noexcept nogil:
        """File node j in another cell, its sketch with it; if that is full, it stays."""
        cdef int32_t old = self.node_codes[j], new = codes[0], here = self.place[j], last, there
        CHECK(0 <= j < self.n_nodes and 0 <= new < self.n_cells, "node and cell")
        if new == old or self.count[new] == self.start[new + 1] - self.start[new]:
            return
        there = self.start[new] + self.count[new]
        last = self.start[old] + self.count[old] - 1
        self.put(j, here, there)
        if last != here:  # no gaps: the last of the old cell takes its slot
            self.put(self.ids[last], last, here)
        self.ids[last] = -1
        self.count[old] -= 1
        self.count[new] += 1
        self.node_codes[j] = new

    cdef void put(self, int32_t j, int32_t here, int32_t there) noexcept nogil:
        memcpy(
            self.sketches + <Py_ssize_t> there * self.dim,
            self.sketches + <Py_ssize_t> here * self.dim, self.dim * sizeof(real),
        )
        self.ids[there] = j
        self.place[j] = there

    cdef int32_t nearest(self, const real *sketch, Scratch *s) noexcept nogil:
        """The cell that a row with this sketch belongs to."""
        cdef int32_t c, best = 0
        kernels.row_dots(self.centroids, NULL, self.n_cells, self.dim, sketch, s.score)
        for c in range(1, self.n_cells):
            if s.score[c] - self.half_norms[c] > s.score[best] - self.half_norms[best]:
                best = c
        s.multiplications += <int64_t> self.n_cells * self.dim
        return best

    cdef int32_t search(
        self, const real *query, bint by_magnitude, int32_t n_visits, Scratch *s
    ) noexcept nogil:
        """The nodes of the n_visits most promising cells to s.ids, their products with the query
        to s.score; how many there are."""
        cdef int32_t c, t, count, n = 0
        cdef real reach = REACH * sqrtf(kernels.sum_squares(query, self.dim))
        kernels.row_dots(self.centroids, NULL, self.n_cells, self.dim, query, s.score)
        for c in range(self.n_cells):
            if by_magnitude:
                s.score[c] = fabsf(s.score[c])
            s.score[c] += reach * self.spread[c]
        kernels.top(s.score, NULL, self.n_cells, n_visits, s.key, s.chosen)
        for t in range(n_visits):
            c = s.chosen[t]
            count = self.count[c]
            kernels.row_dots(
                self.sketches + <Py_ssize_t> self.start[c] * self.dim, NULL, count, self.dim,
                query, s.score + n,
            )
            memcpy(s.ids + n, self.ids + self.start[c], count * sizeof(int32_t))
            n += count
        s.multiplications += <int64_t> (self.n_cells + n) * self.dim + self.n_cells + self.dim
        return n


def cell_scores(arrays, queries, by_magnitude):
    """What ``Cells.collect`` ranks cells by, of many queries: (n_queries, n_cells)."""
    scores = queries @ arrays["centroids"].T
    if by_magnitude:
        scores = np.abs(scores)
    reach = REACH * np.linalg.norm(queries, axis=1, keepdims=True)
    return scores + reach * arrays["spread"]
