from .layer cimport Mode
from .losses cimport Loss
from .outputs cimport Targets
from .rows cimport Rows
from .types cimport Scratch, SparseVec, int32_t, int64_t, uint64_t
from .workspace cimport Example, Space


# What a pass over examples needs to know of all of them.
cdef struct Pass:
    const int64_t *row          # row numbers in the order of training
    Py_ssize_t start            # the places in that order that are to be trained
    Py_ssize_t stop
    Py_ssize_t batch
    uint64_t seed


# A batch dealt to spaces, one example after the other: slots [start, stop) of each.
cdef struct Batch:
    Space **spaces
    int n_spaces
    int32_t start
    int32_t stop


cdef class Steps:
    cdef readonly list layers
    cdef readonly int n_hidden
    cdef readonly int n_hashed          # layers that select: hidden ones, and a hashed output
    cdef readonly int n_together        # layers that take a batch at once: not a hashed output
    cdef readonly bint many_outputs     # small gradients of theirs are left out at random
    cdef Loss loss
    cdef void **layer_pointers

    cdef void load(self, Rows rows, Py_ssize_t i, Example *e, Scratch *s) noexcept nogil
    cdef SparseVec* input_of(self, int l, Example *e) noexcept nogil
    cdef void forward(
        self, int l, Mode mode, Example *examples, int32_t n, Space *space
    ) noexcept nogil
    cdef void propose(
        self, int l, Mode mode, Example *examples, int32_t n, Space *space
    ) noexcept nogil
    cdef void compute(
        self, int l, Mode mode, Example *examples, int32_t n, Space *space
    ) noexcept nogil
    cdef void take(
        self, Rows rows, Targets targets, const Pass *p, Py_ssize_t t, Example *e, Space *space
    ) noexcept nogil
    cdef void ascend(
        self, int low, int high, Example *examples, int32_t n, Space *space
    ) noexcept nogil
    cdef void finish(
        self, Targets targets, Example *examples, int32_t n, Space *space
    ) noexcept nogil
    cdef void descend(
        self, int low, int high, Example *examples, int32_t n, Space *space
    ) noexcept nogil
    cdef void backward(self, int l, Example *e, Scratch *s) noexcept nogil
    cdef bint judge(self, Targets targets, Example *e, Scratch *s) noexcept nogil
    cdef void update(
        self, int l, const Batch *batch, int owner, int n_owners, bint tell, Space *space
    ) noexcept nogil
    cdef void tell_selector(self, int l, const Batch *batch, Space *space) noexcept nogil
    cdef void follow(self, int l, const Batch *batch) noexcept nogil
    cdef void tally(self, const Batch *batch, Space *space) noexcept nogil
