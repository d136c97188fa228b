from .tables cimport CodeIndex
from .types cimport Scratch, int32_t, real


cdef class Centroids:
    cdef readonly int32_t n_cells, n_groups, dim
    cdef readonly object arrays
    cdef real *rows                     # (n_cells, dim), group by group
    cdef real *half_norms               # (n_cells,): |centroid|^2 / 2
    cdef real *groups                   # (n_groups, dim): the centroids' centroids
    cdef real *group_half_norms         # (n_groups,)
    cdef int32_t *group_start           # (n_groups + 1,): the cells of each group

    cdef int32_t nearest(self, const real *sketch, Scratch *s) noexcept nogil
    cdef real squared_distance(self, int32_t c, const real *sketch) noexcept nogil


cdef class Cells(CodeIndex):
    cdef readonly Centroids centroids
    cdef readonly int32_t n_cells, dim
    cdef readonly int32_t n_probes      # cells to visit for a query, for the recall wanted
    cdef real *spread                   # (n_cells,): rms distance of the members
    # (2,): so far beyond the spread of its cell a node has left it, beyond any it is a stray.
    cdef real *far
    cdef real *sketches                 # (n_slots, dim)
    cdef int32_t *start                 # (n_cells + 2,): the slots of each cell, and of strays
    cdef int32_t *count                 # (n_cells + 1,): how many of them are taken, the first
    cdef int32_t *ids                   # (n_slots,): the nodes in them
    cdef int32_t *place                 # (n_nodes,): the slot of each

    cdef bint is_full(self, int32_t c) noexcept nogil
    cdef void put(self, int32_t j, int32_t here, int32_t there) noexcept nogil
    cdef int32_t home(self, const real *sketch, Scratch *s) noexcept nogil
    cdef bint has_left(self, int32_t j, const real *sketch) noexcept nogil
    cdef bint reaches(self, int32_t c, real beyond, const real *sketch) noexcept nogil
    cdef int32_t search(
        self, const real *query, bint by_magnitude, int32_t n_visits, Scratch *s
    ) noexcept nogil
