"""Sketches in, candidate ids out: a partition of the nodes that follows their sketches.

Sign projections cut space blindly, whatever the rows of a trained layer look like. Cells are
drawn where the rows are (k-means, of the rows that are long enough to matter), and a query
visits the few cells that may hold its largest inner products. The sketches of a cell lie
together, so that visiting one is reading from end to end.
"""

import numpy as np

from libc.math cimport INFINITY, fabsf, sqrtf
from libc.string cimport memcpy

from .kernels cimport kernels
from .tables cimport CodeIndex
from .types cimport CHECK, Scratch, int32_t, int64_t, ints, real, reals

# Groups of centroids among which the nearest centroid is looked for. It is in another one for
# three long sketches in a thousand (output layers of 10**6 classes, 32 centroids a group).
cdef int32_t NEAR_GROUPS = 4

# How far beyond its centroid a cell is expected to reach towards the query, in units of the
# members' rms distance from it. Members lie in random directions: few reach a full spread.
cdef real REACH = 0.5

# Slots of a cell beyond those its members take: a share of them, and so many; for each node that
# has found the cell full, since more will come (at most as many again); and of the strays' for
# each cell.
SPARE_SHARE = 0.25
SPARE_SLOTS = 8
GROWTH = 16
ROOM_FOR_STRAYS = 2


cdef class Centroids:
    """What a sketch's cell is decided by: centroids, and groups of those near each other.

    Parameters
    ----------
    arrays : dict
        ``centroids`` (n_cells, dim), those of a group together, ``half_norms`` (n_cells,),
        ``groups`` (n_groups, dim), ``group_half_norms`` (n_groups,), float32, and
        ``group_start`` (n_groups + 1,), int32. No group is empty.
    """

    def __init__(self, arrays):
        self.arrays = arrays
        self.n_cells, self.dim = arrays["centroids"].shape
        self.n_groups = len(arrays["groups"])
        self.rows = reals(arrays["centroids"])
        self.half_norms = reals(arrays["half_norms"])
        self.groups = reals(arrays["groups"])
        self.group_half_norms = reals(arrays["group_half_norms"])
        self.group_start = ints(arrays["group_start"])

    cdef int32_t nearest(self, const real *sketch, Scratch *s) noexcept nogil:
        """The cell that a row with this sketch belongs to: that of the nearest centroid, looked
        for in the nearest groups."""
        cdef int32_t n_near = min(self.n_groups, NEAR_GROUPS), g, t, c, first, n, best = -1
        cdef real most = 0, score
        kernels.row_dots(self.groups, NULL, self.n_groups, self.dim, sketch, s.score)
        for g in range(self.n_groups):
            s.score[g] -= self.group_half_norms[g]
        kernels.top(s.score, NULL, self.n_groups, n_near, s.key, s.chosen)
        s.multiplications += <int64_t> self.n_groups * self.dim
        for t in range(n_near):
            first = self.group_start[s.chosen[t]]
            n = self.group_start[s.chosen[t] + 1] - first
            kernels.row_dots(
                self.rows + <Py_ssize_t> first * self.dim, NULL, n, self.dim, sketch, s.score
            )
            s.multiplications += <int64_t> n * self.dim
            for c in range(n):
                score = s.score[c] - self.half_norms[first + c]
                if best < 0 or score > most:
                    best, most = first + c, score
        CHECK(best >= 0, "a cell in each group")
        return best

    cdef real squared_distance(self, int32_t c, const real *sketch) noexcept nogil:
        """Of a sketch from the centroid of cell c."""
        cdef const real *centroid = self.rows + <Py_ssize_t> c * self.dim
        cdef real total = 0
        cdef int32_t i
        for i in range(self.dim):
            total += (sketch[i] - centroid[i]) * (sketch[i] - centroid[i])
        return total

    def assign(self, sketches):
        """The cells of sketches, float32 of shape (n, dim).

        Returns
        -------
        cell : ndarray of shape (n,), int32
        squares : ndarray of shape (n,), float32
            Squared distances from their centroids.
        multiplications : int
        """
        cdef Scratch s
        cdef const real *sketch = reals(sketches)
        cdef Py_ssize_t j, n = len(sketches)
        scores = np.empty(self.n_cells, np.float32)
        keys, chosen = np.empty(self.n_cells, np.int32), np.empty(self.n_cells, np.int32)
        s.score, s.key, s.chosen, s.multiplications = reals(scores), ints(keys), ints(chosen), 0
        cell = np.empty(n, np.int32)
        squares = np.empty(n, np.float32)
        cdef int32_t *found = ints(cell)
        cdef real *square = reals(squares)
        with nogil:
            for j in range(n):
                found[j] = self.nearest(sketch + j * self.dim, &s)
                square[j] = self.squared_distance(found[j], sketch + j * self.dim)
        return cell, squares, s.multiplications + cell.size * self.dim


cdef class Cells(CodeIndex):
    """k-means cells over the rows' sketches; the code of a node is its cell.

    Parameters
    ----------
    cells : dict
        What ``Centroids`` takes, ``spread`` (n_cells,) and ``far`` (2,), float32, and
        ``n_probes`` (int), the cells visited for a query.
    index : dict
        From ``arranged``: ``node_codes`` (n_nodes, 1), ``start`` (n_cells + 2,), ``count``
        (n_cells + 1,), ``ids`` (n_slots,) and ``place`` (n_nodes,), int32. The last cell is that
        of the strays.
    sketches : ndarray of shape (n_slots, dim), float32
        That of node j is in slot ``place[j]``.
    """

    def __init__(self, cells, index, sketches):
        self.centroids = Centroids(cells)
        self.n_cells, self.dim = self.centroids.n_cells, self.centroids.dim
        CodeIndex.__init__(self, index, 0)
        self.arrays = (cells, index, sketches)
        self.n_probes = cells["n_probes"]
        self.spread = reals(cells["spread"])
        self.far = reals(cells["far"])
        self.sketches = reals(sketches)
        self.start = ints(index["start"])
        self.count = ints(index["count"])
        self.ids = ints(index["ids"])
        self.place = ints(index["place"])

    @staticmethod
    def arranged(cell, n_cells, sketches, place=None, crowded=()):
        """File nodes in their cells.

        Parameters
        ----------
        cell : ndarray of shape (n_nodes,), int32
        n_cells : int
        sketches : ndarray of shape (n_rows, dim), float32
        place : ndarray of shape (n_nodes,), int32, or None
            Where the nodes' sketches are among these; None: in their order.
        crowded : sequence of int
            Cells that have been too small, once for each node that found them full.

        Returns
        -------
        index : dict
        sketches : ndarray of shape (n_slots, dim), float32
        """
        count = np.bincount(cell, minlength=n_cells + 1)
        room = count + (SPARE_SHARE * count).astype(int) + SPARE_SLOTS
        room += np.minimum(GROWTH * np.bincount(crowded, minlength=n_cells + 1), count)
        room[n_cells] += ROOM_FOR_STRAYS * n_cells
        start = np.concatenate([[0], np.cumsum(room)]).astype(np.int32)
        # Short keys are sorted by counting.
        order = np.argsort(cell.astype(np.min_scalar_type(n_cells)), kind="stable")
        first = np.cumsum(count) - count
        slots = start[cell[order]] + np.arange(len(cell)) - first[cell[order]]
        there = np.empty(len(cell), np.int32)
        there[order] = slots
        ids = np.full(start[n_cells + 1], -1, np.int32)
        ids[slots] = order
        index = {
            "node_codes": np.ascontiguousarray(cell, np.int32)[:, None],
            "start": start, "count": count.astype(np.int32), "ids": ids, "place": there,
        }
        # Slots without a node (-1) get some sketch: no pass is spent on clearing them.
        return index, sketches[ids if place is None else place[ids]]

    cdef void move(self, int32_t j, const int32_t *codes) noexcept nogil:
        """File node j in another cell, its sketch with it; among the strays if that is full."""
        cdef int32_t old = self.node_codes[j], new = codes[0], here = self.place[j], last, there
        CHECK(0 <= j < self.n_nodes and 0 <= new <= self.n_cells, "node and cell")
        if new != old and self.is_full(new):
            new = self.n_cells
        if new == old or self.is_full(new):
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

    cdef bint is_full(self, int32_t c) noexcept nogil:
        return self.count[c] == self.start[c + 1] - self.start[c]

    cdef void put(self, int32_t j, int32_t here, int32_t there) noexcept nogil:
        memcpy(
            self.sketches + <Py_ssize_t> there * self.dim,
            self.sketches + <Py_ssize_t> here * self.dim, self.dim * sizeof(real),
        )
        self.ids[there] = j
        self.place[j] = there

    cdef int32_t home(self, const real *sketch, Scratch *s) noexcept nogil:
        """The cell that a node is to be filed in: the nearest, or that of the strays."""
        cdef int32_t c = self.centroids.nearest(sketch, s)
        s.multiplications += self.dim
        return c if self.reaches(c, self.far[1], sketch) else self.n_cells

    cdef bint has_left(self, int32_t j, const real *sketch) noexcept nogil:
        """Whether node j is too far from its cell to be found there; strays are found anyway."""
        cdef int32_t c = self.node_codes[j]
        return c < self.n_cells and not self.reaches(c, self.far[0], sketch)

    cdef bint reaches(self, int32_t c, real beyond, const real *sketch) noexcept nogil:
        """Whether a sketch is no more than so far beyond the spread of cell c."""
        cdef real reach = self.spread[c] + beyond
        return self.centroids.squared_distance(c, sketch) <= reach * reach

    cdef int32_t search(
        self, const real *query, bint by_magnitude, int32_t n_visits, Scratch *s
    ) noexcept nogil:
        """The nodes of the n_visits most promising cells to s.ids, their products with the query
        to s.score; how many there are."""
        cdef int32_t c, t, count, n = 0
        cdef real reach = REACH * sqrtf(kernels.sum_squares(query, self.dim))
        kernels.row_dots(self.centroids.rows, NULL, self.n_cells, self.dim, query, s.score)
        for c in range(self.n_cells):
            if by_magnitude:
                s.score[c] = fabsf(s.score[c])
            s.score[c] += reach * self.spread[c]
            if self.count[c] == 0:  # as one that all have left: others are visited instead
                s.score[c] = -INFINITY
        kernels.top(s.score, NULL, self.n_cells, n_visits, s.key, s.chosen)
        for t in range(n_visits + 1):
            c = s.chosen[t] if t < n_visits else self.n_cells
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
    """What ``Cells.search`` ranks cells by, if they are not empty: (n_queries, n_cells)."""
    scores = queries @ arrays["centroids"].T
    if by_magnitude:
        scores = np.abs(scores)
    reach = REACH * np.linalg.norm(queries, axis=1, keepdims=True)
    return scores + reach * arrays["spread"]
