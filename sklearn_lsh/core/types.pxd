# The words every compiled room speaks. Imports nothing.

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

ctypedef float real


cdef extern from *:
    """
    /* CHECK(condition): compiled in by SKLEARN_LSH_DEBUG=1 only; aborts with the place. */
    #ifdef SKLEARN_LSH_DEBUG
    #include <stdio.h>
    #include <stdlib.h>
    #define LSH_CHECK(ok, what) do { if (!(ok)) { \\
        fprintf(stderr, "sklearn_lsh: check failed: %s (%s:%d)\\n", what, __FILE__, __LINE__); \\
        abort(); } } while (0)
    #else
    #define LSH_CHECK(ok, what) ((void) 0)
    #endif
    """
    void CHECK "LSH_CHECK"(bint ok, const char *what) noexcept nogil


# One currency for an input row, a layer's output and its gradient.
# idx == NULL means dense: val has one entry per coordinate and n is their number.
# mean_product is its product with the mean input, where the layer it enters is centred.
# Where the entries cluster, the same vector is there once more as runs: n_runs stretches of
# RUN coordinates from run[r] on, with their values, zeros included. Otherwise n_runs is 0.
cdef struct SparseVec:
    int32_t *idx
    real *val
    int32_t n
    real mean_product
    int32_t n_runs
    int32_t *run
    real *run_val


# Room for the runs of a vector.
cdef struct RunBuffer:
    int32_t *run
    real *val
    int32_t most


# What a selector fills: the nodes it proposes, and of them those it chose, in ascending order;
# and their pre-activations, which the layer computes in between.
# gain scales the activations (dropout's test-time factors); used where has_gain.
# threshold is subtracted from all pre-activations: a node becomes active with the output 0.
# required are nodes, ascending, that are chosen in any case: an output layer's true labels; so are
# those drawn at random, which stand for all that were not found.
cdef struct ActiveSet:
    int32_t *idx
    real *z
    real *gain
    int32_t n
    bint has_gain
    real threshold
    const int32_t *required
    int32_t n_required
    int32_t *drawn
    int32_t n_drawn


# The input of an update, with what every row's step needs to know of it.
# Of a whitened layer, x is whitened, along has the multiples of the directions that were
# subtracted, and mean the mean input; otherwise there is no room for them, and mean is NULL.
cdef struct Input:
    SparseVec *x
    SparseVec whitened
    real *along
    const real *mean
    real mean_sum       # of its magnitudes
    real largest        # no magnitude of it, or of the intercept's input, is larger
    real intercept_input
    real squared_norm   # the intercept's input included; of the centred input where it counts
    real delta_norm2    # of the gradient at the nodes, where rows are moved feature by feature
    real delta_largest


# How an update moved the rows of a layer, for its selector. Linear: weights shrank by the factor
# decay, then the row of the layer's t-th output fell, with its intercept, by applied[t] * [input,
# intercept_input], the mean input subtracted from the input if centred. NULL where none asks.
# Of a whitened layer the input is what is left when along has been subtracted, too, times gain.
cdef struct Move:
    bint linear
    bint centred
    real gain
    real decay
    real intercept_input
    real *applied
    real *intercept         # without what was applied; where weights shrank


# One layer's share of an example, alive from its forward pass to its update.
cdef struct LayerBuffers:
    Input input
    ActiveSet active
    SparseVec out           # activations of the active nodes (without relu's zeros)
    int32_t *out_idx        # their ids; out.idx is NULL where that is every node in order
    RunBuffer out_runs
    real *delta             # gradient at their pre-activations
    real *seen              # their rows' sums when it was computed; NULL where nobody needs them
    Move move
    real *sketch            # the input's sketch, computed by the selector


# Scratch space of one thread, as wide as the widest layer, and its counters.
cdef struct Scratch:
    real *score
    real *rank
    RunBuffer runs          # of a vector over the nodes of a layer
    int32_t *key
    int32_t *ids
    int32_t *chosen
    int32_t *hits           # per node: in how many buckets it was met (zero between uses)
    uint64_t *bits          # a bit a node, and one for each 64 (zero between uses)
    real *step              # as long as a row of the first layer's input, as is step_idx
    int32_t *step_idx
    real *query             # as long as the longest sketch
    real *margin            # as long as all planes of a layer and a sketch
    int32_t *codes          # as many as one query looks up
    int32_t *order
    uint64_t rng
    bint training
    int64_t multiplications


cdef inline uint64_t mix(uint64_t x) noexcept nogil:
    """SplitMix64's finaliser: a bijection whose output bits look independent."""
    x = (x ^ (x >> 30)) * <uint64_t> 0xbf58476d1ce4e5b9
    x = (x ^ (x >> 27)) * <uint64_t> 0x94d049bb133111eb
    return x ^ (x >> 31)


cdef inline uint64_t rng_next(uint64_t *state) noexcept nogil:
    """SplitMix64 (Steele, Lea and Flood 2014): one word of state, one word out."""
    state[0] += <uint64_t> 0x9e3779b97f4a7c15
    return mix(state[0])


cdef inline int32_t rng_below(uint64_t *state, int32_t n) noexcept nogil:
    """An integer in [0, n); the bias of n / 2**32 is far below what a selection notices."""
    return <int32_t> (((rng_next(state) >> 32) * <uint64_t> n) >> 32)


cdef inline real rng_uniform(uint64_t *state) noexcept nogil:
    """A float32 in [0, 1) with 24 random bits."""
    return <real> (rng_next(state) >> 40) * <real> 5.9604644775390625e-08


# Borrow an array's memory. The caller keeps the array alive; the checks are what stands
# between a wrong dtype and corrupted memory, so they are never compiled out.
cdef inline void* borrow(object array, str dtype) except? NULL:
    if (
        array.dtype.str[1:] != dtype
        or not array.dtype.isnative
        or not array.flags.c_contiguous
    ):
        raise TypeError(
            f"expected a C-contiguous array of {dtype}, got {array.dtype} "
            f"with strides {array.strides}"
        )
    return <void*> <size_t> array.ctypes.data


cdef inline real* reals(object array) except? NULL:
    return <real*> borrow(array, "f4")


cdef inline int32_t* ints(object array) except? NULL:
    return <int32_t*> borrow(array, "i4")
