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
    cdef int lowest                 # the stage with the first layer: 1 where one before it selects
    cdef int32_t portion            # examples that are handed on together
    cdef Counter *up                # a counter a stage: examples that have come up through it,
    cdef Counter *down              # whose gradients have come down through it,
    cdef Counter *done              # and batches that it is done with

    cdef int low(self, int stage) noexcept nogil
    cdef void run(self, int stage) noexcept nogil
    cdef Batch batch_at(self, Py_ssize_t t, Py_ssize_t n_batches) noexcept nogil
    cdef void await_room(self, Py_ssize_t n_batches) noexcept nogil
    cdef bint next_portion(self, const Batch *batch, Batch *portion) noexcept nogil
    cdef void take(self, Py_ssize_t t, const Batch *portion) noexcept nogil
    cdef void forward(self, int stage, const Batch *batch, Py_ssize_t t) noexcept nogil
    cdef void backward(self, int stage, const Batch *batch, Py_ssize_t t) noexcept nogil
    cdef void update(self, int stage, const Batch *batch) noexcept nogil
    cdef void run_selection(self) noexcept nogil
    cdef void tell_selector(self, const Batch *batch, Py_ssize_t t) noexcept nogil


cdef int most_stages(Steps steps)
cdef Relay relay_of(
    Steps steps, Rows rows, Targets targets, const Pass *work, Space **spaces, int n_stages
)
