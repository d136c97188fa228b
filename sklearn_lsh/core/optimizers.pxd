from .kernels cimport lsh_step
from .types cimport Input, Scratch, SparseVec, int32_t, real
from .weights cimport ByNode, WeightStore


cdef class Optimizer:
    cdef readonly WeightStore store
    cdef object arrays
    cdef public real learning_rate      # set by the schedule between passes
    cdef public real momentum
    cdef public real alpha
    cdef object summed
    cdef real *sums                     # (n_out,): of rows' gradients; NULL where none is late

    cdef bint is_linear(self) noexcept nogil
    cdef void describe(self, SparseVec *x, Input *u) noexcept nogil

    cdef int32_t step(
        self, const int32_t *ids, const real *delta, const real *seen, int32_t n, Input *u,
        Scratch *s
    ) noexcept nogil
    cdef real multiple(self, int32_t j, real delta, real since, const Input *u) noexcept nogil
    cdef real reach(self, real multiple, const Input *u) noexcept nogil
    cdef void move_node(self, int32_t j, real delta, real since, const Input *u) noexcept nogil
    cdef void move_together(
        self, const int32_t *ids, int32_t n, const Input *u, Scratch *s
    ) noexcept nogil
    cdef bint is_by_feature(self) noexcept nogil
    cdef void weigh(self, const real *delta, int32_t n, Input *u) noexcept nogil
    cdef int32_t step_features(
        self, SparseVec *x, const int32_t *ids, const real *delta, int32_t n, const Input *u,
        Scratch *s
    ) noexcept nogil
    cdef void step_intercepts(
        self, const int32_t *ids, const real *delta, int32_t n
    ) noexcept nogil


cdef class PerWeight(Optimizer):
    cdef ByNode rows                    # the store
    cdef real *state                    # (n_out, n_in, width)
    cdef real *intercept_state          # (n_out, width)
    cdef int32_t width
    cdef readonly real intercept_rate   # its steps are so many times a weight's
    cdef void rule(
        self, const lsh_step *s, const SparseVec *x, real *w, real *state
    ) noexcept nogil


cdef class SGD(PerWeight):
    pass


cdef class Adagrad(PerWeight):
    pass


cdef class RowwiseAdagrad(Optimizer):
    cdef real *row_squares
    cdef real square(self, real delta, real since, const Input *u) noexcept nogil


cdef class FeaturewiseAdagrad(Optimizer):
    cdef real *feature_squares          # (n_in,)
    cdef real *intercept_squares        # (n_out,)
