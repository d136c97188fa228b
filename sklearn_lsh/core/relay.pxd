from .counter cimport Counter
from .outputs cimport Targets
from .rows cimport Rows
from .steps cimport Batch, Pass, Steps
from .types cimport int32_t
from .workspace cimport Space


cdef class Relay:
    cdef Steps steps
    cdef Rows rows
    cdef Targets targets
    cdef const Pass *work
    cdef Space **spaces
    cdef int n_stages
    cdef int32_t portion            # examples that are handed on together
    cdef Counter *up                # a counter a stage: examples that have come up through it,
    cdef Counter *down              # whose gradients have come down through it,
    cdef Counter *done              # and batches that it is done with

    cdef int low(self, int stage) noexcept nogil
    cdef void run(self, int stage) noexcept nogil
    cdef void forward(self, int stage, const Batch *batch, Py_ssize_t t) noexcept nogil
    cdef void backward(self, int stage, const Batch *batch, Py_ssize_t t) noexcept nogil
    cdef void update(self, int stage, const Batch *batch) noexcept nogil


cdef Relay relay_of(
    Steps steps, Rows rows, Targets targets, const Pass *work, Space **spaces, int n_stages
)
