"""Input rows: dense or CSR memory in, SparseVec out.

The layout a layer sees depends on the values alone, never on how they were stored: zeros
are dropped, and a row with more than half of its entries set is handed on dense. So dense
and sparse input of the same values take the same path and give the same bits.
"""

import numpy as np

from .kernels cimport kernels, write_runs
from .types cimport CHECK, borrow, int32_t, int64_t, ints, real, reals

ctypedef fused value_t:
    float
    double

ctypedef fused index_t:
    int32_t
    int64_t


cdef class Rows:
    """Rows of a design matrix; ``load`` unpacks one of them without the GIL."""

    cdef void load(self, Py_ssize_t i, RowBuffer *row) noexcept nogil:
        row.vec.n = 0

    def sample(self, ids):
        """The given rows as CSR parts: indptr (int64), indices (int32), data (float32)."""
        cdef RowBuffer row
        cdef Py_ssize_t i
        index = np.empty(self.n_features, np.int32)
        value = np.empty(self.n_features, np.float32)
        row.idx, row.val, row.runs.most = ints(index), reals(value), 0
        counts, indices, data = [0], [], []
        for i in ids:
            self.load(i, &row)
            if row.vec.idx == NULL:
                kept = np.flatnonzero(value).astype(np.int32)
                indices.append(kept)
                data.append(value[kept])
            else:
                indices.append(index[:row.vec.n].copy())
                data.append(value[:row.vec.n].copy())
            counts.append(len(data[len(data) - 1]))
        return np.cumsum(counts, dtype=np.int64), np.concatenate(indices), np.concatenate(data)


cdef void scatter(RowBuffer *row, int32_t n_features) noexcept nogil:
    """Turn the n collected (idx, val) pairs of a well-filled row into its dense form."""
    cdef int32_t t = n_features - 1, source = row.vec.n - 1
    # From the back and in place: idx is ascending, so target >= source throughout.
    while t >= 0:
        if source >= 0 and row.idx[source] == t:
            row.val[t] = row.val[source]
            source -= 1
        else:
            row.val[t] = 0
        t -= 1
    row.vec.n = n_features
    row.vec.idx = NULL


cdef inline void finish(RowBuffer *row, int32_t n, int32_t n_features) noexcept nogil:
    row.vec.n = n
    row.vec.n_runs = 0
    row.vec.idx = row.idx
    row.vec.val = row.val
    if 2 * <int64_t> n > n_features:
        scatter(row, n_features)
    else:
        write_runs(&row.vec, &row.runs, n_features)


cdef int32_t load_doubles(const double *x, int32_t n_features, RowBuffer *row) noexcept nogil:
    """``kernels.entries``, of what is not 0 in single precision."""
    cdef int32_t i, start, stop, n = 0
    cdef bint filled
    cdef real v
    # Blocks of 16 zeros, the margins of an image, are passed over at once.
    for start in range(0, n_features, 16):
        stop = min(start + 16, n_features)
        filled = False
        for i in range(start, stop):
            filled |= x[i] != 0
        if filled:
            for i in range(start, stop):
                v = <real> x[i]
                row.idx[n] = i
                row.val[n] = v
                n += v != 0
    return n


cdef void load_csr(
    const value_t *data, const index_t *indices, Py_ssize_t length, int32_t n_features,
    RowBuffer *row
) noexcept nogil:
    cdef int32_t n = 0
    cdef Py_ssize_t t
    cdef real v
    for t in range(length):
        v = <real> data[t]
        CHECK(0 <= indices[t] < n_features, "column index")
        row.idx[n] = <int32_t> indices[t]
        row.val[n] = v
        n += v != 0
    finish(row, n, n_features)


cdef class DenseRows(Rows):
    """A C-contiguous float32 or float64 array, read in place."""

    def __init__(self, array):
        self.array = array
        self.n_rows, self.n_features = array.shape
        self.double_precision = array.dtype == "f8"
        self.data = borrow(array, "f8" if self.double_precision else "f4")

    cdef void load(self, Py_ssize_t i, RowBuffer *row) noexcept nogil:
        cdef Py_ssize_t start = i * self.n_features
        cdef int32_t n
        if self.double_precision:
            n = load_doubles(<const double *> self.data + start, self.n_features, row)
        else:
            n = kernels.entries(
                <const float *> self.data + start, self.n_features, row.idx, row.val
            )
        finish(row, n, self.n_features)


cdef class CSRRows(Rows):
    """A canonical CSR matrix (sorted, no duplicates), read in place.

    Values are float32 or float64; indices and indptr both int32 or both int64.
    """

    def __init__(self, matrix):
        index_type = "i8" if matrix.indices.dtype == "i8" else "i4"
        self.arrays = (matrix.data, matrix.indices, matrix.indptr)
        self.n_rows, self.n_features = matrix.shape
        self.double_precision = matrix.data.dtype == "f8"
        self.long_index = index_type == "i8"
        self.data = borrow(matrix.data, "f8" if self.double_precision else "f4")
        self.indices = borrow(matrix.indices, index_type)
        self.indptr = borrow(matrix.indptr, index_type)

    cdef void load(self, Py_ssize_t i, RowBuffer *row) noexcept nogil:
        cdef Py_ssize_t start, length
        cdef const int64_t *long_ptr = <const int64_t *> self.indptr
        cdef const int32_t *short_ptr = <const int32_t *> self.indptr
        cdef const int64_t *long_idx = <const int64_t *> self.indices
        cdef const int32_t *short_idx = <const int32_t *> self.indices
        cdef const double *f8 = <const double *> self.data
        cdef const float *f4 = <const float *> self.data
        if self.long_index:
            start, length = long_ptr[i], long_ptr[i + 1] - long_ptr[i]
            if self.double_precision:
                load_csr(f8 + start, long_idx + start, length, self.n_features, row)
            else:
                load_csr(f4 + start, long_idx + start, length, self.n_features, row)
        else:
            start, length = short_ptr[i], short_ptr[i + 1] - short_ptr[i]
            if self.double_precision:
                load_csr(f8 + start, short_idx + start, length, self.n_features, row)
            else:
                load_csr(f4 + start, short_idx + start, length, self.n_features, row)
