"""One layer: weights, a selector and an optimizer, joined by forward, backward and update."""

from libc.math cimport expf, fabsf, tanhf

from .kernels cimport kernels
from .optimizers cimport Input, Optimizer
from .selection cimport AllNodes, Selector, WinnerTakeAll
from .types cimport LayerBuffers, Move, Scratch, SparseVec, borrow, int32_t, int64_t, real
from .weights cimport WeightStore

ACTIVATIONS = {
    "identity": Activation.IDENTITY,
    "relu": Activation.RELU,
    "tanh": Activation.TANH,
    "logistic": Activation.LOGISTIC,
}


cdef class Layer:
    """Nodes that are not selected output 0 and are not touched.

    Parameters
    ----------
    store : WeightStore
    selector : Selector
    optimizer : Optimizer
    activation : str
        A key of ACTIVATIONS.
    used : ndarray of shape (n_out,), uint8
        Set to 1 where a node was active in training.
    """

    def __init__(
        self, WeightStore store, Selector selector, Optimizer optimizer, activation, used,
    ):
        self.store = store
        self.selector = selector
        self.inference = "auto"
        self.optimizer = optimizer
        self.activation = ACTIVATIONS[activation]
        self.arrays = used
        self.used = <unsigned char *> borrow(used, "u1")

    @property
    def inference(self):
        """How nodes are selected for prediction: "auto", "exact" or "all"."""
        return self.inference_kind

    @inference.setter
    def inference(self, kind):
        chosen = self.selector
        if kind == "auto":
            self.inference_selector = chosen.inference()
        else:
            exact = {"exact": WinnerTakeAll, "all": AllNodes}[kind]
            self.inference_selector = exact(self.store, chosen.n_active, chosen.by_magnitude)
        self.inference_kind = kind

    cdef void enter(self, SparseVec *x, Scratch *s) noexcept nogil:
        """Complete an input with its product with the mean input, if the layer is centred."""
        x.mean_product = 0
        if self.store.mean != NULL:
            x.mean_product = kernels.dot(x.idx, x.val, x.n, self.store.mean)
            s.multiplications += x.n

    cdef int32_t hits(self, SparseVec *x, LayerBuffers *buf, Scratch *s) noexcept nogil:
        """How many of the exact top n_active nodes for x are among those selected in buf."""
        cdef int32_t t, k = self.selector.n_active, n = self.store.n_out, found = 0
        cdef real bar
        cdef bint by_magnitude = self.selector.by_magnitude
        self.store.activations(x, NULL, n, s.score)
        s.multiplications += <int64_t> n * x.n
        for t in range(n):
            s.score[t] = fabsf(s.score[t]) if by_magnitude else s.score[t]
        k = kernels.top(s.score, NULL, n, k, s.key, s.chosen)
        bar = s.score[s.chosen[0]]
        for t in range(k):
            bar = min(bar, s.score[s.chosen[t]])
        for t in range(buf.active.n):
            found += (fabsf(buf.active.z[t]) if by_magnitude else buf.active.z[t]) >= bar
        return min(found, k)

    cdef void forward(
        self, bint inference, SparseVec *x, LayerBuffers *buf, Scratch *s
    ) noexcept nogil:
        cdef int32_t t, n = 0
        cdef real z
        buf.active.n = 0
        buf.active.has_gain = False
        if inference:
            self.inference_selector.select(x, buf, s)
        else:
            self.selector.select(x, buf, s)
        for t in range(buf.active.n):
            z = buf.active.z[t]
            if self.activation == Activation.TANH:
                z = tanhf(z)
            elif self.activation == Activation.LOGISTIC:
                z = 1 / (1 + expf(-z))
            elif self.activation == Activation.RELU and z <= 0:
                continue  # outputs 0 and passes no gradient: as good as not active
            if buf.active.has_gain:
                z *= buf.active.gain[t]
            buf.out.val[n] = z
            buf.out_idx[n] = buf.active.idx[t]
            n += 1
        buf.out.n = n
        # All nodes, in order: the layer above may read its rows contiguously.
        buf.out.idx = NULL if n == self.store.n_out else buf.out_idx
        if s.training:
            for t in range(buf.active.n):
                self.used[buf.active.idx[t]] = 1

    cdef void pull_back(
        self, LayerBuffers *buf, SparseVec *x, LayerBuffers *below, Scratch *s
    ) noexcept nogil:
        """Gradient at the input x, the output of the layer below, into below.delta."""
        self.store.pull_back(buf.out_idx, buf.delta, buf.out.n, x, below.delta)
        s.multiplications += <int64_t> buf.out.n * x.n

    cdef void through_activation(self, LayerBuffers *buf) noexcept nogil:
        """Turn the gradient at the outputs into the one at the pre-activations."""
        cdef int32_t t
        cdef real a
        if self.activation == Activation.TANH:
            for t in range(buf.out.n):
                a = buf.out.val[t]
                buf.delta[t] *= 1 - a * a
        elif self.activation == Activation.LOGISTIC:
            for t in range(buf.out.n):
                a = buf.out.val[t]
                buf.delta[t] *= a * (1 - a)

    cdef int32_t update(self, SparseVec *x, LayerBuffers *buf, Scratch *s) noexcept nogil:
        """Apply the gradient buf.delta outer x. Returns how many rows were refused."""
        cdef Move move
        cdef Input u
        cdef int32_t refused
        self.optimizer.describe(x, &u)
        refused = self.optimizer.step(buf.out_idx, buf.delta, buf.out.n, &u, buf.applied)
        s.multiplications += <int64_t> buf.out.n * x.n
        # Refused rows did not decay either: let their sketches be computed afresh.
        move.linear = self.optimizer.is_linear() and refused == 0
        move.decay = 1 - self.optimizer.learning_rate * self.optimizer.alpha
        move.centred = self.optimizer.is_centred()
        move.intercept_input = u.intercept_input
        move.applied = buf.applied
        self.selector.rows_moved(buf.out_idx, buf.out.n, &move, buf, s)
        return refused
