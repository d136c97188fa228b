# The C unit simd/kernels.c, as seen from Cython. Every other room reaches the arithmetic
# through the one pointer `kernels`, so that a change of level reaches them all.

from .types cimport RunBuffer, SparseVec, int32_t, real, uint64_t


cdef extern from "simd/kernels.h" nogil:
    int32_t RUN "LSH_RUN"
    int32_t SORT_WORDS "LSH_SORT_WORDS"(int32_t n_nodes) noexcept nogil
    int32_t LSH_MOST_RUNS(int32_t n) noexcept nogil
    ctypedef struct lsh_step:
        real delta
        real learning_rate
        real momentum
        real inverse_scale

    ctypedef struct lsh_kernels:
        const char *level
        real (*dot)(const int32_t *idx, const real *val, int32_t n, const real *w) noexcept nogil
        void (*gather_dots)(
            const real *w, int32_t stride, const int32_t *ids, int32_t m, const int32_t *idx,
            const real *val, int32_t n, real *out
        ) noexcept nogil
        void (*run_dots)(
            const real *w, int32_t stride, const int32_t *ids, int32_t m, const int32_t *run,
            const real *val, int32_t n, real *out
        ) noexcept nogil
        void (*axpy)(
            real a, const int32_t *idx, const real *val, int32_t n, real *w
        ) noexcept nogil
        void (*run_outer)(
            const int32_t *idx, const real *a, int32_t n, const int32_t *run, const real *val,
            int32_t m, real *w, int32_t stride
        ) noexcept nogil
        int32_t (*find_runs)(
            const int32_t *idx, const real *val, int32_t n, int32_t width, int32_t most,
            int32_t *run, real *run_val
        ) noexcept nogil
        void (*run_pull_back)(
            const real *w, int32_t stride, const int32_t *ids, const real *a, int32_t n,
            const int32_t *run, int32_t m, real *out
        ) noexcept nogil
        void (*pull_back)(
            const real *w, int32_t stride, const int32_t *ids, const real *a, int32_t n,
            const int32_t *idx, int32_t m, real *out
        ) noexcept nogil
        void (*row_dots)(
            const real *rows, const int32_t *ids, int32_t n, int32_t d, const real *q,
            real *out
        ) noexcept nogil
        void (*row_sums)(
            const real *rows, int32_t stride, int32_t d, const int32_t *idx, const real *val,
            int32_t n, real *out
        ) noexcept nogil
        double (*exponentials)(
            const real *z, real highest, int32_t n, real *out
        ) noexcept nogil
        double (*sigmoids)(const real *z, int32_t n, real *out) noexcept nogil
        real (*max_abs)(const real *x, int32_t n) noexcept nogil
        real (*sum_squares)(const real *x, int32_t n) noexcept nogil
        void (*sgd)(
            const lsh_step *s, const int32_t *idx, const real *val, int32_t n, real *w, real *state
        ) noexcept nogil
        void (*adagrad)(
            const lsh_step *s, const int32_t *idx, const real *val, int32_t n, real *w, real *state
        ) noexcept nogil
        int32_t (*top)(
            const real *score, const int32_t *ids, int32_t n, int32_t m, int32_t *key,
            int32_t *out,
        ) noexcept nogil
        int32_t (*exceeding)(
            const real *x, int32_t n, real bar, int32_t *out
        ) noexcept nogil
        int32_t (*entries)(
            const real *x, int32_t n, int32_t *idx, real *val
        ) noexcept nogil
        int32_t (*sort)(
            int32_t *ids, int32_t n, int32_t n_nodes, uint64_t *bits
        ) noexcept nogil

cdef lsh_kernels *kernels


cdef inline void write_runs(SparseVec *x, RunBuffer *room, int32_t width) noexcept nogil:
    """Add the runs to a sparse vector of so many coordinates, if it has any worth it."""
    cdef int32_t most = min(LSH_MOST_RUNS(x.n), room.most)
    x.n_runs = 0
    if width >= RUN:
        x.n_runs = kernels.find_runs(x.idx, x.val, x.n, width, most, room.run, room.val)
    x.run, x.run_val = room.run, room.val
