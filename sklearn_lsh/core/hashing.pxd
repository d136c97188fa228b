from .types cimport SparseVec, int32_t, real, uint64_t
from .weights cimport ByNode


cdef class HashFamily:
    cdef readonly int32_t n_in, n_bits, n_tables, dim
    cdef readonly object arrays
    cdef int32_t code_cost      # multiplications that encode a row whose sketch is known
    cdef real *matrix           # (n_in, dim): a vector's sketch is matrix' v + intercept_row * v0
    cdef real *intercept_row    # (dim,)
    cdef real *query_gain       # (dim,): a query is query_gain * sketch + query_offset
    cdef real *query_offset     # (dim,)
    cdef real *planes           # (n_tables * n_bits, dim), NULL for the identity
    cdef real *norm_plane       # (n_tables * n_bits,)
    cdef real *centre           # (dim,): mean row sketch, subtracted before a row is encoded
    cdef real *norm_bound       # (1,)

    cdef void sketch(self, SparseVec *x, real intercept, real *out) noexcept nogil
    cdef void query(self, const real *sketch, real *q) noexcept nogil
    cdef void margins(self, const real *q, real *margin) noexcept nogil
    cdef real row_norm2(self, ByNode store, int32_t j, const real *centred) noexcept nogil
    cdef void row_codes(
        self, ByNode store, int32_t j, const real *sketch, real *margin, int32_t *codes
    ) noexcept nogil


cdef class SimpleLSH(HashFamily):
    pass


cdef class Subspace(HashFamily):
    pass


cdef class Probing:
    cdef readonly int32_t n_bits, n_tables, n_probes
    cdef readonly int32_t n_codes   # looked up by one query in one table
    cdef bint directed
    cdef bint both_signs
    cdef object templates
    cdef int32_t *template
    cdef void codes(
        self, const real *margin, int32_t *order, uint64_t *rng, int32_t *codes
    ) noexcept nogil
