from .types cimport Input, SparseVec, int32_t, int64_t, real


cdef class Whitening:
    cdef readonly int32_t n_in
    cdef readonly int32_t n_directions
    cdef readonly object arrays
    cdef real *mean             # (n_in,)
    cdef real *directions       # (n_directions, n_in)
    cdef real *reduction        # (n_directions,)
    cdef readonly real gain
    cdef real mean_sum          # of its magnitudes

    cdef int64_t whiten(self, SparseVec *x, Input *u) noexcept nogil
