from .tables cimport CodeIndex
from .types cimport Scratch, int32_t, real


cdef class Cells(CodeIndex):
    cdef readonly int32_t n_cells, dim
    cdef readonly int32_t n_probes      # cells to visit for a query, for the recall wanted
    cdef real *centroids                # (n_cells, dim)
    cdef real *half_norms               # (n_cells,): |centroid|^2 / 2
    cdef real *spread                   # (n_cells,): rms distance of the members
    cdef real *sketches                 # (n_slots, dim)
    cdef int32_t *start                 # (n_cells + 1,): the slots of each cell
    cdef int32_t *count                 # (n_cells,): how many of them are taken, from the first
    cdef int32_t *ids                   # (n_slots,): the nodes in them
    cdef int32_t *place                 # (n_nodes,): the slot of each

    cdef void put(self, int32_t j, int32_t here, int32_t there) noexcept nogil
    cdef int32_t nearest(self, const real *sketch, Scratch *s) noexcept nogil
    cdef int32_t search(
        self, const real *query, bint by_magnitude, int32_t n_visits, Scratch *s
    ) noexcept nogil
