"""The update rules. Each owns its state and is one class and one line of SOLVERS.

All act on the rows they are given and, in those rows, on the coordinates the input holds: the
non-zeros, or all of them where more than half are set (see rows.pyx). State of other weights
is neither read nor aged. L2 (``alpha``) is decoupled and
lazy: an updated row's weights, all of them, first shrink by ``1 - learning_rate * alpha``.
"""

import numpy as np

from libc.math cimport INFINITY, fabsf, isfinite, sqrtf

from .kernels cimport kernels, lsh_step
from .types cimport Input, Scratch, SparseVec, int32_t, real, reals
from .weights cimport ByFeature, ByNode, WeightStore

# Gradients beyond this are refused: their squares still fit float32.
cdef real LARGEST_GRADIENT = 1e18
cdef real LARGEST_SQUARE = 1e36
# What a neuron's accumulator starts with: damps its first steps, which Adagrad would make
# full ones however small the gradient.
cdef real ROW_START = 0.1
# Of Adagrad's intercepts in layers with few active nodes.
cdef real THIN_INTERCEPT_RATE = 10


cdef class Optimizer:
    """Base of the update rules.

    Parameters
    ----------
    store : WeightStore
        The layer the rule updates.
    state : dict of ndarray
        Arrays named and shaped as ``state_shapes`` says, owned by the caller.

    Attributes
    ----------
    learning_rate, momentum, alpha : float
        Set before a pass.
    """

    #: What ``learning_rate_init="auto"`` stands for.
    auto_learning_rate = 0.01
    #: Whether the mean input can be subtracted lazily, so that updates cost an input's non-zeros.
    centres_lazily = False
    #: State arrays with an axis of inputs, the second; and those with an axis of nodes, the first.
    by_input = ()
    by_node = ()
    #: The rule for a first layer whose weights lie by feature; None where they must not.
    by_feature = None

    def __init__(self, WeightStore store, state):
        self.store = store
        self.arrays = state
        self.share(False)

    @property
    def linear(self):
        """Whether updates are multiples of the input, at the present rates."""
        return self.is_linear()

    cdef bint is_linear(self) noexcept nogil:
        return False

    cdef bint is_by_feature(self) noexcept nogil:
        """Whether rows are moved by ``step_features`` and ``step_intercepts``, not ``step``."""
        return False

    def share(self, shared):
        """Told before a pass whether gradients may be late: others have moved their rows.

        Before workspaces are made for it, too. A rule that heeds it sums up each row's gradients.
        """
        self.summed, self.sums = None, NULL

    def thin(self):
        """Told, before it is used, that activations decide which nodes of the layer are active."""

    @staticmethod
    def state_shapes(n_out, n_in):
        """Names and shapes of the float32 state arrays of a layer; they start as zeros."""
        return {}

    cdef void describe(self, SparseVec *x, Input *u) noexcept nogil:
        """What the steps of all rows need to know of an input.

        Centred, z = w.(x - mu) + b' with b' = b + w.mu. The gradient with respect to (w, b') is
        (x - mu, 1), which in terms of (w, b) is (x - mu, 1 - mu.(x - mu)).
        """
        u.x, u.mean, u.mean_sum = x, NULL, 0
        u.intercept_input = 1
        u.largest = max(<real> 1, kernels.max_abs(x.val, x.n))
        u.squared_norm = 1 + kernels.sum_squares(x.val, x.n)
        if self.store.mean != NULL:
            u.intercept_input = 1 - (x.mean_product - self.store.mean_norm2)
            u.largest = max(u.largest + self.store.mean_largest, fabsf(u.intercept_input))
            # Rounding must not make it less than the intercept's share.
            u.squared_norm += self.store.mean_norm2 - 2 * x.mean_product
            u.squared_norm = max(<real> 1, u.squared_norm)

    cdef int32_t step(
        self, const int32_t *ids, const real *delta, const real *seen, int32_t n, Input *u,
        Scratch *s
    ) noexcept nogil:
        """Update node ids[t] with gradient delta[t] * input. Returns how many were refused.

        seen[t] is the sum of its row when the gradient was computed; NULL where there are none.
        An update is refused where a weight could leave the range of float32. s.rank[t]
        receives the multiple of the input that was subtracted, where the rule is linear.
        """
        cdef int32_t t, refused = 0
        cdef real decay = 1 - self.learning_rate * self.alpha
        cdef real *applied = s.rank
        cdef real since = 0
        for t in range(n):
            if seen != NULL:
                since = self.sums[ids[t]] - seen[t]
            applied[t] = self.multiple(ids[t], delta[t], since, u)
            # The comparison is false for NaN.
            if fabsf(delta[t]) * u.largest < LARGEST_GRADIENT and self.store.admit(
                ids[t], self.reach(applied[t], u)
            ):
                if decay != 1:
                    self.store.shrink(ids[t], decay)
                self.move_node(ids[t], delta[t], since, u)
            else:
                applied[t] = 0
                refused += 1
        # Where all are, the input may not be finite, and nothing times it would be NaN.
        if refused < n:
            self.move_together(ids, n, u, s)
        return refused

    cdef real multiple(self, int32_t j, real delta, real since, const Input *u) noexcept nogil:
        """The multiple of the input to subtract from row j, if the rule is linear.

        ``since`` is what its sum has grown by since the gradient was computed.
        """
        return self.learning_rate * delta

    cdef real reach(self, real multiple, const Input *u) noexcept nogil:
        """A bound on how far an update moves any weight of its row."""
        return 0

    cdef void move_node(self, int32_t j, real delta, real since, const Input *u) noexcept nogil:
        """Update the state of node j; its weights, too, where they move one by one."""
        pass

    cdef void move_together(
        self, const int32_t *ids, int32_t n, const Input *u, Scratch *s
    ) noexcept nogil:
        """Update the weights of all nodes of a step, where they move by multiples of x."""
        pass

    cdef void weigh(self, const real *delta, int32_t n, Input *u) noexcept nogil:
        """Complete the description of an update: its gradient at the nodes."""
        u.delta_norm2 = kernels.sum_squares(delta, n)
        u.delta_largest = kernels.max_abs(delta, n)

    cdef int32_t step_features(
        self, SparseVec *x, const int32_t *ids, const real *delta, int32_t n, const Input *u,
        Scratch *s
    ) noexcept nogil:
        """Update the weights from the features in x, part of an input and not dense.

        Returns how many features were refused.
        """
        return 0

    cdef void step_intercepts(
        self, const int32_t *ids, const real *delta, int32_t n
    ) noexcept nogil:
        """Update the intercepts."""
        pass


cdef class PerWeight(Optimizer):
    """Base of the rules with state for every weight; the intercept is one more weight.

    Weights lie by node, and so does their state. In a layer with few active nodes intercepts may
    have a rate of their own: they decide for which examples nodes are.

    In a centred layer the intercept that the rule is for is b' = b + w.mu (see
    ``Optimizer.describe``): b takes back what w.mu gains.
    """

    by_input = ("state",)
    by_node = ("state", "intercept_state")

    def __init__(self, ByNode store, state):
        Optimizer.__init__(self, store, state)
        self.rows = store
        self.state = reals(state["state"])
        self.intercept_state = reals(state["intercept_state"])
        self.width = state["state"].size // (store.n_out * store.n_in)
        self.intercept_rate = 1

    cdef void move_node(self, int32_t j, real delta, real since, const Input *u) noexcept nogil:
        cdef lsh_step s
        cdef SparseVec intercept_input
        cdef real one = 1, at_mean = 0
        cdef real *w = self.rows.row(j)
        cdef real *intercept = self.store.intercepts + j
        cdef Py_ssize_t row = <Py_ssize_t> j * self.width
        s.learning_rate = self.learning_rate
        s.momentum = self.momentum
        s.delta = delta
        s.inverse_scale = 1 / self.store.scale[j]
        if u.mean != NULL:
            at_mean = kernels.dot(NULL, w, self.store.n_in, u.mean)
        self.rule(&s, u.x, w, self.state + row * self.store.n_in)
        if u.mean != NULL:
            at_mean -= kernels.dot(NULL, w, self.store.n_in, u.mean)
            intercept[0] += self.store.scale[j] * at_mean
        intercept_input.idx, intercept_input.val, intercept_input.n = NULL, &one, 1
        s.learning_rate *= self.intercept_rate
        s.inverse_scale = 1
        self.rule(&s, &intercept_input, intercept, self.intercept_state + row)

    cdef void rule(
        self, const lsh_step *s, const SparseVec *x, real *w, real *state
    ) noexcept nogil:
        """Update the weights w and their state where x holds a coordinate."""
        pass


cdef class SGD(PerWeight):
    """Stochastic gradient descent with momentum: ``v = momentum v + lr g; w -= v``."""

    auto_learning_rate = 0.01

    @staticmethod
    def state_shapes(n_out, n_in):
        return {"state": (n_out, n_in), "intercept_state": (n_out,)}

    cdef bint is_linear(self) noexcept nogil:
        return self.momentum == 0

    cdef real reach(self, real multiple, const Input *u) noexcept nogil:
        return fabsf(multiple) * u.largest / (1 - self.momentum)

    cdef void rule(
        self, const lsh_step *s, const SparseVec *x, real *w, real *state
    ) noexcept nogil:
        kernels.sgd(s, x.idx, x.val, x.n, w, state)


cdef class Adagrad(PerWeight):
    """The paper's rule: per-weight Adagrad (Duchi et al. 2011) inside momentum.

    ``G += g^2; v = momentum v + lr g / sqrt(G + 0.001); w -= v``, with v and G interleaved.

    Where little has been added to the 0.001, steps follow the size of the gradient. With the
    1e-6 of the paper's code all gradients but the least make full steps in rows that are rarely
    active, and hashing learns less (measured in doc/tried.rst).

    A step moves an activation by one of the intercept's and by those of hundreds of weights. Where
    intercepts decide which nodes are active theirs are longer: the nodes learn sooner for which
    examples to be (measured there, too).
    """

    auto_learning_rate = 0.01

    def thin(self):
        self.intercept_rate = THIN_INTERCEPT_RATE

    @staticmethod
    def state_shapes(n_out, n_in):
        return {"state": (n_out, n_in, 2), "intercept_state": (n_out, 2)}

    cdef real reach(self, real multiple, const Input *u) noexcept nogil:
        # |g| <= sqrt(G + g^2): a single step is at most lr, the geometric sum of them this; and
        # the intercept's, of a centred layer, takes back as many times the mean.
        cdef real steps = self.intercept_rate + u.mean_sum
        return self.learning_rate * steps / (1 - self.momentum)

    cdef void rule(
        self, const lsh_step *s, const SparseVec *x, real *w, real *state
    ) noexcept nogil:
        kernels.adagrad(s, x.idx, x.val, x.n, w, state)


cdef class FeaturewiseAdagrad(Optimizer):
    """One accumulator a feature: ``G += x^2 |delta|^2; w -= lr x delta / sqrt(0.1 + G)``.

    For a first layer above wide sparse input, where most features are rare: what a node has
    learned from the frequent ones must not shorten the steps of the others. As for the tables of
    embeddings in Naumov et al. 2019 (DLRM), row-wise. Intercepts have accumulators of their own.
    """

    auto_learning_rate = 0.5
    by_node = ("intercept_squares",)

    def __init__(self, ByFeature store, state):
        Optimizer.__init__(self, store, state)
        self.feature_squares = reals(state["feature_squares"])
        self.intercept_squares = reals(state["intercept_squares"])

    cdef bint is_by_feature(self) noexcept nogil:
        return True

    @staticmethod
    def state_shapes(n_out, n_in):
        return {"feature_squares": (n_in,), "intercept_squares": (n_out,)}

    cdef int32_t step_features(
        self, SparseVec *x, const int32_t *ids, const real *delta, int32_t n, const Input *u,
        Scratch *s
    ) noexcept nogil:
        cdef int32_t t, i, refused = 0
        cdef real v, total, decay = 1 - self.learning_rate * self.alpha
        cdef SparseVec step = x[0]
        step.val = s.step
        step.n_runs = 0
        for t in range(x.n):
            i, v = x.idx[t], x.val[t]
            total = self.feature_squares[i] + v * v * u.delta_norm2
            step.val[t] = self.learning_rate * v / sqrtf(total + ROW_START)
            # The comparison is false for NaN.
            if (
                fabsf(v) * u.delta_largest < LARGEST_GRADIENT and isfinite(total)
                and self.store.admit(i, fabsf(step.val[t]) * u.delta_largest)
            ):
                self.feature_squares[i] = total
                if decay != 1:
                    self.store.shrink(i, decay)
            else:
                step.val[t] = 0
                refused += 1
        # As in ``step``: it may be the gradient that is not finite.
        if refused < x.n:
            self.store.subtract(ids, delta, n, &step, s)
        return refused

    cdef void step_intercepts(
        self, const int32_t *ids, const real *delta, int32_t n
    ) noexcept nogil:
        cdef real *intercepts = self.store.intercepts
        cdef int32_t t, j
        cdef real step, total
        for t in range(n):
            j = ids[t]
            total = self.intercept_squares[j] + delta[t] * delta[t]
            step = self.learning_rate * delta[t] / sqrtf(total + ROW_START)
            if fabsf(intercepts[j] - step) < LARGEST_GRADIENT and isfinite(total):
                self.intercept_squares[j] = total
                intercepts[j] -= step


cdef class RowwiseAdagrad(Optimizer):
    """One accumulator a neuron, no momentum: ``G += |g|^2; w -= lr g / sqrt(0.1 + G)``.

    Inputs of a centred layer count less their mean, as if they had been standardised: where all
    features are far from zero, all gradients would point the same way otherwise.

    The gradient g is the whole row's, so the step in pre-activation grows with the norm of
    the input and not with its square: one learning rate serves few and many, dim and bright
    inputs. The step is a multiple of the input, so sketches of the row move by the same
    multiple of the input's sketch.

    A late gradient, which does not know of those that others have applied since it was computed,
    goes too far where it points the way they did: ``G += |g|^2 + 2 g.h`` then, with h their sum
    (McMahan and Streeter 2014, "Delay-Tolerant Algorithms for Asynchronous Distributed Online
    Learning"). Of h each row keeps a number, the sum of ``+-|g|``: what makes the same node active
    is taken for similar. Where g.h is negative nothing is added.
    """

    auto_learning_rate = 0.5
    centres_lazily = True
    by_node = ("row_squares",)
    by_feature = FeaturewiseAdagrad

    def __init__(self, WeightStore store, state):
        Optimizer.__init__(self, store, state)
        self.row_squares = reals(state["row_squares"])

    def share(self, shared):
        self.summed = np.zeros(self.store.n_out, np.float32) if shared else None
        self.sums = reals(self.summed) if shared else NULL

    cdef bint is_linear(self) noexcept nogil:
        return True

    @staticmethod
    def state_shapes(n_out, n_in):
        return {"row_squares": (n_out,)}

    cdef real square(self, real delta, real since, const Input *u) noexcept nogil:
        """What a gradient adds to the accumulator of its row."""
        cdef real late = 2 * delta * sqrtf(u.squared_norm) * since
        cdef real square = delta * delta * u.squared_norm
        # Both comparisons are false for NaN.
        if 0 < late < LARGEST_SQUARE:
            square += late
        return square

    cdef real multiple(self, int32_t j, real delta, real since, const Input *u) noexcept nogil:
        cdef real total = self.row_squares[j] + self.square(delta, since, u)
        if not isfinite(total):
            return INFINITY  # refused; the row would stay where it is for ever
        return self.learning_rate * delta / sqrtf(total + ROW_START)

    cdef real reach(self, real multiple, const Input *u) noexcept nogil:
        return fabsf(multiple) * u.largest

    cdef void move_node(self, int32_t j, real delta, real since, const Input *u) noexcept nogil:
        self.row_squares[j] += self.square(delta, since, u)
        if self.sums != NULL:
            self.sums[j] += delta * sqrtf(u.squared_norm)

    cdef void move_together(
        self, const int32_t *ids, int32_t n, const Input *u, Scratch *s
    ) noexcept nogil:
        self.store.subtract(ids, s.rank, n, u.x, s)
        self.store.move_intercepts(ids, s.rank, n, u.intercept_input)


SOLVERS = {"rowwise_adagrad": RowwiseAdagrad, "adagrad": Adagrad, "sgd": SGD}
