from .answers cimport Answers
from .layer cimport Layer
from .losses cimport Loss
from .outputs cimport Targets
from .rows cimport Rows
from .types cimport Scratch, SparseVec, int32_t, int64_t, real, uint64_t
from .workspace cimport Example, Space


# What a pass over examples needs to know of all of them.
cdef struct Pass:
    const int64_t *row          # row numbers in the order of training
    uint64_t seed
    Py_ssize_t batch


cdef class Engine:
    cdef readonly list layers
    cdef readonly int n_hidden
    cdef readonly int n_hashed          # layers that select: hidden ones, and a hashed output
    cdef readonly bint many_outputs     # small gradients of theirs are left out at random
    cdef Loss loss
    cdef void **layer_pointers

    cdef void load(self, Rows rows, Py_ssize_t i, Example *e, Scratch *s) noexcept nogil
    cdef SparseVec* input_of(self, int l, Example *e) noexcept nogil
    cdef void forward(
        self, int l, bint inference, Example *examples, int32_t n, Space *space
    ) noexcept nogil
    cdef void train_alone(
        self, Rows rows, Targets targets, const Pass *p, Py_ssize_t start, Py_ssize_t stop,
        Py_ssize_t step, Space *space,
    ) noexcept nogil
    cdef void gradients(
        self, Rows rows, Targets targets, const Pass *p, Py_ssize_t start, Py_ssize_t stop,
        int step, Space *space,
    ) noexcept nogil
    cdef void backward(self, int l, Example *e, Scratch *s) noexcept nogil
    cdef bint judge(self, Targets targets, Example *e, Scratch *s) noexcept nogil
    cdef void update(self, Space **spaces, int owner, int n_owners) noexcept nogil
    cdef void follow(self, int l, Space **spaces, int n_spaces) noexcept nogil
    cdef int32_t predict_some(
        self, Rows rows, Py_ssize_t start, Py_ssize_t stop, Answers answers, Space *space
    ) noexcept nogil
    cdef void pass_through(
        self, Rows rows, const int64_t *row, int32_t n, int last, Space *space
    ) noexcept nogil
    cdef void count_hits(
        self, int32_t n, int32_t *found, int32_t *wanted, real *bar, real *z, Space *space
    ) noexcept nogil
    cdef void exact(
        self, int l, Example *examples, int32_t n, real *z, Scratch *s
    ) noexcept nogil
