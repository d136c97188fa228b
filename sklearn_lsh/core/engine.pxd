from .layer cimport Layer
from .losses cimport Loss
from .rows cimport Rows
from .types cimport int32_t, int64_t, real, uint64_t
from .workspace cimport Space


cdef class Targets:
    cdef object arrays
    cdef const int64_t *indptr
    cdef const int32_t *labels
    cdef const real *sample_weight


cdef class Engine:
    cdef readonly list layers
    cdef readonly int n_hidden
    cdef Loss loss
    cdef void **layer_pointers

    cdef void train_share(
        self, Rows rows, Targets targets, const int64_t *row, Py_ssize_t start, Py_ssize_t stop,
        int step, uint64_t seed, Space *space,
    ) noexcept nogil
    cdef void load(self, Rows rows, Py_ssize_t i, Space *space) noexcept nogil
    cdef bint gradients(self, Targets targets, Py_ssize_t i, Space *space) noexcept nogil
    cdef void forward(self, int n_layers, bint inference, Space *space) noexcept nogil
    cdef void update(self, Space *space) noexcept nogil
    cdef int predict_one(
        self, Rows rows, Py_ssize_t i, double *p, Space *space
    ) noexcept nogil
