from .tables cimport HashTables
from .types cimport Scratch, int32_t, real


cdef class Cells:
    cdef readonly int32_t n_cells, dim
    cdef readonly int32_t n_probes      # cells visited for a query
    cdef readonly object arrays
    cdef real *centroids                # (n_cells, dim)
    cdef real *half_norms               # (n_cells,): |centroid|^2 / 2
    cdef real *spread                   # (n_cells,): rms distance of the members

    cdef int32_t nearest(self, const real *sketch, Scratch *s) noexcept nogil
    cdef int32_t collect(
        self, HashTables members, const real *query, bint by_magnitude, Scratch *s
    ) noexcept nogil
