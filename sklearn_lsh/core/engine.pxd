from .answers cimport Answers
from .layer cimport Mode
from .outputs cimport Targets
from .rows cimport Rows
from .steps cimport Batch, Pass, Steps
from .types cimport Scratch, int32_t, int64_t, real
from .workspace cimport Example, Space


cdef class Engine(Steps):
    cdef int divide_examples(
        self, Rows rows, Targets targets, const Pass *p, Space **spaces, int n_threads,
        int at_work,
    ) except -1
    cdef int divide_layers(
        self, Rows rows, Targets targets, const Pass *p, Space **spaces, int n_stages
    ) except -1
    cdef int divide_batches(
        self, Rows rows, Targets targets, const Pass *p, Space **spaces, int n_threads,
        int at_work,
    ) except -1
    cdef void train_alone(
        self, Rows rows, Targets targets, const Pass *p, Py_ssize_t start, Py_ssize_t step,
        Space *space,
    ) noexcept nogil
    cdef void gradients(
        self, Rows rows, Targets targets, const Pass *p, Py_ssize_t start, Py_ssize_t stop,
        int step, Space *space,
    ) noexcept nogil
    cdef void apply(self, const Batch *batch, int owner, int n_owners) noexcept nogil
    cdef int32_t predict_some(
        self, Rows rows, Py_ssize_t start, Py_ssize_t stop, Answers answers, Space *space
    ) noexcept nogil
    cdef void pass_through(
        self, Rows rows, const int64_t *row, int32_t n, int last, Space *space
    ) noexcept nogil
    cdef Mode mode_of(self, int l, Space *space) noexcept nogil
    cdef void count_hits(
        self, int32_t n, int32_t *found, int32_t *wanted, real *bar, real *z, Space *space
    ) noexcept nogil
    cdef void exact(
        self, int l, Example *examples, int32_t n, real *z, Scratch *s
    ) noexcept nogil
