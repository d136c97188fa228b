from .types cimport RunBuffer, SparseVec, int32_t, int64_t, real


# A row as the layers see it, with the memory it is unpacked into.
cdef struct RowBuffer:
    SparseVec vec
    int32_t *idx
    real *val
    RunBuffer runs


cdef class Rows:
    cdef readonly Py_ssize_t n_rows
    cdef readonly int32_t n_features
    cdef void load(self, Py_ssize_t i, RowBuffer *row) noexcept nogil


cdef class DenseRows(Rows):
    cdef object array
    cdef const void *data
    cdef bint double_precision


cdef class CSRRows(Rows):
    cdef object arrays
    cdef const void *data
    cdef const void *indices
    cdef const void *indptr
    cdef bint double_precision
    cdef bint long_index
