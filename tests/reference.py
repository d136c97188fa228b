"""The whole algorithm in plain NumPy, slow and readable: the oracle of the tests.

Everything is float64 and per example. A layer's input is a pair (idx, val), as in the compiled
rooms: which coordinates are touched is part of the algorithm, not an implementation detail.
"""

from itertools import combinations

import numpy as np

# ---- forward and backward ----------------------------------------------------------------

# Each activation with its derivative, as a function of the output.
ACTIVATIONS = {
    "identity": (lambda z: z, lambda a: np.ones_like(a)),
    "relu": (lambda z: np.maximum(z, 0), lambda a: (a > 0).astype(float)),
    "tanh": (np.tanh, lambda a: 1 - a**2),
    "logistic": (lambda z: 1 / (1 + np.exp(-z)), lambda a: a * (1 - a)),
}


def load_row(x):
    """The non-zeros of a data row; every coordinate if more than half of them are set."""
    idx = np.flatnonzero(x)
    if 2 * len(idx) > len(x):
        idx = np.arange(len(x))
    return idx, np.asarray(x, np.float64)[idx]


def probabilities(z, loss):
    """Output probabilities from logits."""
    if loss == "sigmoid":
        return 1 / (1 + np.exp(-z))
    e = np.exp(z - z.max())
    return e / e.sum()


def loss_and_delta(z, labels, loss):
    """The loss of one example whose true labels are listed, and its gradient at the logits."""
    p, target = probabilities(z, loss), np.zeros_like(z)
    if loss == "sigmoid":
        target[labels] = 1
        return -(target * np.log(p) + (1 - target) * np.log(1 - p)).sum(), p - target
    if not len(labels):
        return 0.0, target
    if loss == "decoupled_softmax":
        # Each label has a softmax of its own, over the classes that are none and itself.
        value, delta = 0.0, np.zeros_like(z)
        others = np.setdiff1d(np.arange(len(z)), labels)
        for label in labels:
            rivals = np.append(others, label)
            value -= np.log(probabilities(z[rivals], loss)[-1]) / len(labels)
            delta[rivals] += probabilities(z[rivals], loss) / len(labels)
            delta[label] -= 1 / len(labels)
        return value, delta
    target[labels] = 1 / len(labels)
    return -(target * np.log(p)).sum(), p - target


def threshold(z, layers_own, most):
    """What is subtracted from the activations z of the active nodes of a soft layer.

    Its own threshold where it parts these from the rest; else the least of them.
    """
    return layers_own if len(z) < most and z.min() > layers_own else max(0, z.min())


def next_threshold(value, n_seen, memory, batch, bounds):
    """Where a batch moves a threshold: ``batch`` are the activations of all nodes, a row each.

    ``bounds`` are how many nodes are active: at least, on average, and at most.
    """
    fewest, wanted, most = bounds
    counts, outputs, used = [], [], []
    for z in batch:
        count = np.clip(np.sum(z > value), fewest, most)
        active = z[top_k(z, count)]
        used.append(threshold(active, value, most))
        counts.append(count)
        outputs.append(np.maximum(active - used[-1], 0).sum())
    if n_seen == 0:
        return np.mean(used)
    rate = min(1, len(batch) / min(memory, n_seen + len(batch)))
    scale = sum(outputs) / sum(counts)
    return max(0, value + rate * scale * np.log(np.mean(counts) / wanted))


class Layer:
    """One layer: ``forward`` remembers what ``backward`` needs."""

    #: Of a soft layer, its threshold and how many nodes are active at most.
    soft = None

    def __init__(self, weights, intercepts, activation, rule):
        self.w, self.b = np.array(weights, np.float64), np.array(intercepts, np.float64)
        self.activation, self.rule = activation, rule

    def forward(self, inputs, active):
        idx, val = self.inputs = inputs
        function, _ = ACTIVATIONS[self.activation]
        z = self.w[np.ix_(active, idx)] @ val + self.b[active]
        if self.soft:
            z -= threshold(z, *self.soft)
        a = function(z)
        # A relu node at zero is as good as not active: no output, no gradient, no decay.
        kept = a > 0 if self.activation == "relu" else np.ones(len(a), bool)
        self.outputs = active[kept], a[kept]
        return self.outputs

    def delta(self, d_outputs):
        """Gradient at the pre-activations from the one at the outputs."""
        return d_outputs * ACTIVATIONS[self.activation][1](self.outputs[1])

    def d_inputs(self, delta):
        return delta @ self.w[np.ix_(self.outputs[0], self.inputs[0])]

    def update(self, inputs, nodes, delta, seen):
        for j, d, s in zip(nodes, delta, seen, strict=True):
            self.rule.since = self.rule.sums[j] - s
            self.rule.update(self, j, d, *inputs)


class LayerByFeature(Layer):
    """A first layer above wide sparse input: an accumulator a feature, and one an intercept."""

    def __init__(self, weights, intercepts, activation, rule, feature_squares, intercept_squares):
        super().__init__(weights, intercepts, activation, rule)
        self.feature_squares = np.array(feature_squares, np.float64)
        self.intercept_squares = np.array(intercept_squares, np.float64)

    def update(self, inputs, nodes, delta, seen):
        lr, alpha = self.rule.lr, self.rule.alpha
        if not len(nodes):
            return
        for i, value in zip(*inputs, strict=True):
            self.w[:, i] *= 1 - lr * alpha
            self.feature_squares[i] += value**2 * (delta @ delta)
            self.w[nodes, i] -= lr * value * delta / np.sqrt(self.feature_squares[i] + 0.1)
        self.intercept_squares[nodes] += delta**2
        self.b[nodes] -= lr * delta / np.sqrt(self.intercept_squares[nodes] + 0.1)


class Network:
    """Layers and a loss. ``active`` lists the selected nodes of each hidden layer."""

    def __init__(self, layers, loss):
        self.layers, self.loss = layers, loss

    def logits(self, x, active):
        out = load_row(x)
        for layer, nodes in zip(self.layers, [*active, None], strict=True):
            nodes = np.arange(len(layer.b)) if nodes is None else np.asarray(nodes)
            out = layer.forward(out, nodes)
        return out[1]

    def deltas(self, x, labels, active, weight=1.0):
        """Loss, and the gradient at each layer's (selected) pre-activations."""
        value, delta = loss_and_delta(self.logits(x, active), labels, self.loss)
        deltas = [weight * delta]
        for layer, below in zip(self.layers[:0:-1], self.layers[-2::-1], strict=True):
            deltas.insert(0, below.delta(layer.d_inputs(deltas[0])))
        return weight * value, deltas

    def gradients(self, x, labels, active, weight=1.0):
        """Dense gradients (weights, intercepts) of each layer."""
        _, deltas = self.deltas(x, labels, active, weight)
        found = []
        for layer, delta in zip(self.layers, deltas, strict=True):
            dw, db = np.zeros_like(layer.w), np.zeros_like(layer.b)
            nodes, (idx, val) = layer.outputs[0], layer.inputs
            dw[np.ix_(nodes, idx)] = np.outer(delta, val)
            db[nodes] = delta
            found.append((dw, db))
        return found

    def updates(self, x, labels, active, weight=1.0):
        """Loss, and what ``apply`` takes for one training step from the weights as they are."""
        value, deltas = self.deltas(x, labels, active, weight)
        return value, [
            (layer.inputs, layer.outputs[0], delta, layer.rule.sums[layer.outputs[0]])
            for layer, delta in zip(self.layers, deltas, strict=True)
        ]

    def apply(self, updates):
        for layer, update in zip(self.layers, updates, strict=True):
            layer.update(*update)

    def step(self, x, labels, active, weight=1.0):
        """One training step; the loss before it."""
        value, updates = self.updates(x, labels, active, weight)
        self.apply(updates)
        return value

    def train_delayed(self, examples, n_workers, batch):
        """Workers take turns: each applies what it computed at its last turn, then computes.

        ``examples`` are the arguments of ``step``, ``batch`` of which make a turn.
        """
        examples, waiting, turn = list(examples), [[] for _ in range(n_workers)], 0
        for layer in self.layers:
            layer.rule.shared = n_workers > 1
        while examples or any(waiting):
            worker = turn % n_workers
            for updates in waiting[worker]:
                self.apply(updates)
            waiting[worker] = [self.updates(*example)[1] for example in examples[:batch]]
            del examples[:batch]
            turn += 1


# ---- solvers: each updates row j of a layer by the gradient delta * [input, 1] -------------


class Rule:
    """Base: learning rate, momentum, and decoupled decay of the weights of updated rows.

    With a mean input mu a rule acts on z = w (x - mu) + b', b' = b + w mu; with a symmetric map A
    of the input on z = w' A (x - mu) + b', w = A w'. "adagrad" takes w's share of that for its
    gradient: its accumulators are those of w.
    """

    mean, map = 0.0, None
    # Steps of an intercept, in those of a weight.
    intercept_rate = 1.0
    # Whether gradients may be late; and what the row's sum has grown by since one was computed.
    shared, since = False, 0.0

    def __init__(self, shape, learning_rate, momentum=0.0, alpha=0.0):
        self.lr, self.momentum, self.alpha = learning_rate, momentum, alpha
        self.sums = np.zeros(shape[0])
        self.start(shape)

    def update(self, layer, j, delta, idx, val):
        layer.w[j] *= 1 - self.lr * self.alpha
        if np.any(self.mean):
            idx, val = np.arange(layer.w.shape[1]), self.centred(layer, idx, val)
            if self.map is not None:
                val = self.map @ self.map @ val
        seen_as = layer.b[j] + np.sum(layer.w[j] * self.mean)
        # The intercept is a weight on a constant 1: column -1 of the state.
        step = self.steps(j, delta, np.append(idx, -1), np.append(val, 1.0))
        layer.w[j, idx] -= step[:-1]
        layer.b[j] = seen_as - step[-1] - np.sum(layer.w[j] * self.mean)

    def centred(self, layer, idx, val):
        centred = -self.mean * np.ones(layer.w.shape[1])
        centred[idx] += val
        return centred


class SGD(Rule):
    def start(self, shape):
        self.v = np.zeros((shape[0], shape[1] + 1))

    def steps(self, j, delta, idx, val):
        self.v[j, idx] = self.momentum * self.v[j, idx] + self.lr * delta * val
        return self.v[j, idx]


class Adagrad(Rule):
    def start(self, shape):
        self.v, self.total = np.zeros((2, shape[0], shape[1] + 1))

    def steps(self, j, delta, idx, val):
        g = delta * val
        self.total[j, idx] += g**2
        self.v[j, idx] *= self.momentum
        rates = np.append(np.full(len(idx) - 1, self.lr), self.lr * self.intercept_rate)
        self.v[j, idx] += rates * g / np.sqrt(self.total[j, idx] + 1e-3)
        return self.v[j, idx]


class RowwiseAdagrad(Rule):
    """One accumulator a row: the squared norm of its gradient."""

    def start(self, shape):
        self.total = np.zeros(shape[0])

    def update(self, layer, j, delta, idx, val):
        layer.w[j] *= 1 - self.lr * self.alpha
        centred = self.centred(layer, idx, val)
        if self.map is not None:
            centred = self.map @ centred
        g = delta * np.sqrt(1 + centred @ centred)
        self.total[j] += g**2
        if self.shared:  # McMahan and Streeter 2014, a number for a row's gradient
            self.total[j] += max(0, 2 * g * self.since)
            self.sums[j] += g
        a = self.lr * delta / np.sqrt(self.total[j] + 0.1)
        seen_as = layer.b[j] + np.sum(layer.w[j] * self.mean)
        layer.w[j] -= a * (centred if self.map is None else self.map @ centred)
        layer.b[j] = seen_as - a - np.sum(layer.w[j] * self.mean)


def whitening_map(arrays):
    """The map of a whitened input: the variance along each direction reduced, all then raised."""
    directions = arrays["directions"].astype(float)
    left = np.sqrt(1 - arrays["reduction"].astype(float))
    taken = np.eye(directions.shape[1]) - directions.T @ np.diag(1 - left) @ directions
    return np.sqrt(arrays["gain"][0]) * taken


RULES = {"sgd": SGD, "adagrad": Adagrad, "rowwise_adagrad": RowwiseAdagrad}


# ---- hashing and selection -----------------------------------------------------------------


def top_k(score, k):
    """Positions of the k highest, ascending; NaN lowest, ties to the first."""
    score = np.where(np.isnan(score), -np.inf, score)
    return np.sort(np.lexsort([np.arange(len(score)), -score])[:k])


def sketches(family, vectors, intercepts):
    """Linear sketches of vectors with their intercepts appended, one a row."""
    matrix = np.vstack([family["matrix"], family["intercept_row"]]).astype(np.float64)
    return np.column_stack([vectors, intercepts]) @ matrix


def query(family, x):
    """What nodes' sketches are multiplied with to estimate their activations for an input."""
    return family["query_gain"] * sketches(family, x[None], [1.0])[0] + family["query_offset"]


def query_margins(family, x):
    """Signed distances of an input to every hyperplane."""
    q = query(family, x)
    return family["planes"] @ q if "planes" in family else q


def row_margins(family, weights, intercepts):
    """The same of every node: Simple-LSH with the norm coordinate sqrt(M^2 - |row|^2)."""
    weights = weights.astype(np.float64)
    centred = sketches(family, weights, intercepts) - family["centre"]
    if "planes" in family:
        norm2, margins = (centred**2).sum(axis=1), centred @ family["planes"].T
    else:
        norm2, margins = (weights**2).sum(axis=1) + intercepts**2, centred
    slack = np.sqrt(np.maximum(0, family["norm_bound"][0].astype(float) ** 2 - norm2))
    return margins + slack[:, None] * family["norm_plane"]


def codes(margins, n_bits):
    """Signs to integers, n_bits at a time: one code a table."""
    signs = (margins > 0).reshape(*margins.shape[:-1], -1, n_bits)
    return signs @ (1 << np.arange(n_bits))


def probe_codes(margins, n_bits, n_probes):
    """Directed multi-probe of each table: flip the sets of bits nearest their hyperplane.

    The bit of j-th smallest margin (from 1) costs j (j + 1), its expected squared distance.
    """
    sets = [s for r in range(n_bits + 1) for s in combinations(range(n_bits), r)]
    sets.sort(key=lambda s: (sum((j + 1) * (j + 2) for j in s), s))
    found = []
    for margin, code in zip(margins.reshape(-1, n_bits), codes(margins, n_bits), strict=True):
        order = np.argsort(np.abs(margin), kind="stable")
        found.append([code ^ sum(1 << order[j] for j in s) for s in sets[:n_probes]])
    return np.array(found)


def buckets(node_codes):
    """The hash tables as dicts: one {code: set of nodes} a table."""
    tables = []
    for table in np.asarray(node_codes).T:
        tables.append({int(c): set(np.flatnonzero(table == c).tolist()) for c in table})
    return tables


def collisions(tables, probes):
    """In how many of the probed buckets each node was met: {node: count}."""
    hits = {}
    for table, wanted in zip(tables, probes, strict=True):
        for code in wanted:
            for node in table.get(int(code), ()):
                hits[node] = hits.get(node, 0) + 1
    return hits


def cell_distances(cells, vectors):
    """Squared distances of sketches to the centroids: (n_vectors, n_cells)."""
    away = vectors[:, None, :].astype(float) - cells["centroids"][None]
    return (away**2).sum(axis=2)


def nearest_cells(cells, vectors, n_near=4):
    """The cell of the nearest centroid for each vector, among those of the nearest groups."""
    groups = cell_distances({"centroids": cells["groups"]}, vectors)
    near = np.argsort(groups, axis=1, kind="stable")[:, :n_near]
    group = np.repeat(np.arange(len(cells["groups"])), np.diff(cells["group_start"]))
    distances = cell_distances(cells, vectors)
    distances[(group[None, :, None] != near[:, None]).all(axis=2)] = np.inf
    return distances.argmin(axis=1)


def cell_scores(cells, q, by_magnitude):
    """What a query may find in each cell: its product with the centroid, and half a spread."""
    products = cells["centroids"].astype(float) @ q
    products = np.abs(products) if by_magnitude else products
    return products + 0.5 * np.linalg.norm(q) * cells["spread"]


def retrieval_probability(x, weights, intercepts, n_bits, n_tables):
    """Chance over random hash functions that Simple-LSH retrieves each row for x."""
    query = np.append(x, [1.0, 0.0])
    norm2 = (weights.astype(float) ** 2).sum(axis=1) + intercepts.astype(float) ** 2
    rows = np.column_stack([weights, intercepts, np.sqrt(norm2.max() - norm2)])
    cosine = rows @ query / np.linalg.norm(query) / np.linalg.norm(rows, axis=1)
    agree = 1 - np.arccos(np.clip(cosine, -1, 1)) / np.pi
    return 1 - (1 - agree**n_bits) ** n_tables
