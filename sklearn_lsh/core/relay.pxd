from .counter cimport Counter
from .outputs cimport Targets
from .rows cimport Rows
from .steps cimport Batch, Pass, Steps
from .types cimport int32_t
from .workspace cimport Space


# A stage's share of the network: layers [low, high), and the selection of a layer's nodes.
cdef struct Share:
    int low
    int high
    bint told               # of the lowest layer's nodes, by the stage below, which selects them
    bint selects_above


cdef class Relay:
    cdef Steps steps
    cdef Rows rows
    cdef Targets targets
    cdef const Pass *work
    cdef Space **spaces
    cdef int n_stages
    cdef Share *shares
    cdef int32_t portion            # examples that are handed on together
    cdef Counter *up                # a counter a stage: the examples that have come up through it,
    cdef Counter *down              # whose gradients have come down through it,
    cdef Counter *moved             # by which the rows of its lowest layer have moved,
    cdef Counter *done              # and that it needs no more

    cdef void run(self, int stage) noexcept nogil
    cdef void await_room(self, Py_ssize_t t) noexcept nogil
    cdef bint next_portion(self, const Batch *batch, Batch *portion) noexcept nogil
    cdef void forward(
        self, int stage, const Batch *batch, const Batch *before, Py_ssize_t t
    ) noexcept nogil
    cdef void take(self, Py_ssize_t t, const Batch *portion) noexcept nogil
    cdef void tell_selector(self, int stage, const Batch *before, Py_ssize_t t) noexcept nogil
    cdef void backward(self, int stage, const Batch *batch, Py_ssize_t t) noexcept nogil
    cdef void update(self, int stage, const Batch *batch, Py_ssize_t t) noexcept nogil


cdef int most_stages(Steps steps)
cdef Relay relay_of(
    Steps steps, Rows rows, Targets targets, const Pass *work, Space **spaces, int n_stages
)
