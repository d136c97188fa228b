"""The network as NumPy arrays, and the compiled layers built over them.

Every array lives in ``Network.state``, a dict of arrays and builtins that is also the pickled
form. The compiled objects only borrow its memory, so they are rebuilt after loading and never
stored.
"""

from dataclasses import asdict, dataclass

import numpy as np

from ._state import FORMAT, check_clock, check_format, check_indices, check_layers, check_settings
from ._threads import one_blas_thread
from .core.cells import Cells
from .core.engine import Engine
from .core.hashing import HASH_FAMILIES, Probing
from .core.layer import Layer
from .core.losses import LOSSES
from .core.lsh import RANKINGS, LSHSelector
from .core.optimizers import SOLVERS
from .core.order import reorder
from .core.selection import SELECTIONS, AllNodes, WinnerTakeAll
from .core.tables import CodeScan, HashTables
from .core.threshold import Threshold, bounds
from .core.weights import ByFeature, ByInput, ByNode
from .core.whitening import Whitening

# What snapshots hold of every layer; nodes say in which order the others are.
REMEMBERED = ("weights", "intercepts", "threshold", "nodes")
# Rank by magnitude where a strongly negative pre-activation is as active as a positive one.
RANKED_BY_MAGNITUDE = ("tanh", "identity")
# The cascade's short list before it is measured, in multiples of the active set.
SHORT_LIST = 2
# And at most, in layers as wide as an output layer may be.
LONGEST_LIST = 6
# From so many outputs on, hashed or not, their intercepts start from the shares of the classes and
# small gradients are left out: all but a few of them have next to no probability.
MANY_OUTPUTS = 500
# Random classes that training looks at beside those found by hashing.
EXPLORED = 64
# Training visits this share of the cells that prediction visits for an output, and computes no
# more nodes than shall be active. The true labels are there anyway; some of their rivals will do.
TRAINING_VISITS = 0.25
# Recall of a hashed output layer is about the best of its active set: this part, at least so many.
JUDGED, FEWEST_JUDGED = 8, 16
# Weights above wide sparse input start with pre-activations of this size, relative to those that
# Glorot's weights would have above standardised input.
SPARSE_START = 0.2
# hash_probes="auto" before it is measured, and where nothing is: the paper's number.
PROBES = 10
# A bucket yields at most this many times its fair share, n_nodes / 2**n_bits.
CROWDED = 16
# Nodes that a smaller share of the examples visits are left out of training most of the time, if
# that is also a smaller part of what each would get were all visited alike: in a layer of 100,000
# that is rarely. Not nodes with the least visits, be they few together: what is rare would lose
# its nodes.
RARE, RARE_PART = 1 / 2000, 0.1
# Weights drawn in one go: an even number, or the generator would drop half a word.
DRAWN_TOGETHER = 2**16
# Nodes whose first weights are whitened in one go.
WHITENED_TOGETHER = 2**12
# Weights copied in one go: of the largest layers there is no room for a second copy.
COPIED_TOGETHER = 2**22


@dataclass(frozen=True)
class Settings:
    """What a network is, in builtins. Per-layer values are tuples, the output layer's last.

    ``by_input`` says how the weights of each layer lie in memory (see core.weights); in the first
    one it means by feature. Layers whose ``hash_search`` is "exact" are not hashed.
    """

    n_features: int
    hidden_layer_sizes: tuple
    n_outputs: int
    activation: str
    loss: str
    selection: str
    n_active: tuple
    soft_threshold: bool
    solver: str
    hash_family: str
    hash_search: tuple
    hash_ranking: str
    hash_bits: tuple
    hash_tables: int
    hash_probes: int | str
    by_input: tuple

    @property
    def shapes(self):
        """(n_out, n_in) of every layer."""
        sizes = (self.n_features, *self.hidden_layer_sizes, self.n_outputs)
        return [(n_out, n_in) for n_in, n_out in zip(sizes, sizes[1:], strict=False)]

    @property
    def stores(self):
        """How the weights of every layer lie in memory."""
        kinds = [ByInput if by_input else ByNode for by_input in self.by_input]
        return [ByFeature, *kinds[1:]] if self.by_input[0] else kinds

    @property
    def rules(self):
        """The optimizer of every layer."""
        rule = SOLVERS[self.solver]
        return [rule.by_feature if store is ByFeature else rule for store in self.stores]

    def most_listed(self, index):
        """How many nodes of a layer may be computed for an example, without its labels."""
        n_out, _ = self.shapes[index]
        if index == len(self.hidden_layer_sizes) and self.hashes(index):
            # Of many classes: nothing is to be allocated for all of them in every slot.
            return min(n_out, LONGEST_LIST * self.n_active[index])
        return n_out

    @property
    def hashes_outputs(self):
        """Whether classes are found by hashing."""
        return self.hashes(len(self.hidden_layer_sizes))

    def finds_outputs(self, inference):
        """Whether predictions that select nodes so compute some of the outputs only."""
        return self.hashes_outputs and inference == "auto"

    @property
    def has_many_outputs(self):
        """Whether nearly all outputs have next to no probability, for most examples."""
        return self.hashes_outputs or self.n_outputs >= MANY_OUTPUTS

    def is_sparse(self, index):
        """Whether only some nodes of a hidden layer are active for an example."""
        hidden = index < len(self.hidden_layer_sizes)
        return hidden and self.n_active[index] < self.hidden_layer_sizes[index]

    def sorts(self, index):
        """Whether a layer's nodes are sorted by use."""
        return self.selection == "lsh" and self.is_sparse(index)

    def thins(self, index):
        """Whether activations decide which of a layer's nodes are active."""
        return self.selection != "dropout" and self.is_sparse(index)

    def softens(self, index):
        """Whether nodes output what they have more than a threshold.

        Not so those of the last of several hidden layers: networks are better without.
        """
        n_hidden = len(self.hidden_layer_sizes)
        if not self.soft_threshold or index >= n_hidden - (n_hidden > 1):
            return False
        return self.is_sparse(index)

    def most_active(self, index):
        """How many nodes of a layer may be active for an example, without its labels."""
        n_active = self.n_active[index]
        return bounds(n_active, self.shapes[index][0])[1] if self.softens(index) else n_active

    def first_search(self, index):
        """Where a hashed layer's candidates come from before it has seen inputs."""
        if self.hash_search[index] in ("auto", "cells"):  # cells are drawn from inputs
            return "tables" if RANKINGS[self.hash_ranking].needs_codes else "scan"
        return self.hash_search[index]

    def hashes(self, index):
        """Whether a layer's nodes are found by hashing."""
        if index < len(self.hidden_layer_sizes) and self.selection != "lsh":
            return False
        return self.hash_search[index] != "exact"

    @property
    def dense_multiplications(self):
        """Multiplications of one training example in the dense network.

        Forward and weight gradients cost fan-in x fan-out each, and so do the deltas passed
        down, which the first layer has not.
        """
        shapes = self.shapes
        return sum(o * i * (2 if layer == 0 else 3) for layer, (o, i) in enumerate(shapes))


class Network:
    """Weights, optimizer state and hash tables of a network, and its compiled engine.

    Parameters
    ----------
    state : dict
        From ``create`` or ``Network.state``; kept and updated in place.
    """

    def __init__(self, state):
        check_format(state)
        self.state = state
        self.settings = Settings(**state["settings"])
        check_settings(self.settings)
        check_clock(state)
        check_layers(state["layers"], self.settings)
        self.rates = {"learning_rate": 0.0, "momentum": 0.0, "alpha": 0.0}
        self.shared = False
        #: Multiplications that making it took, until they are counted.
        self.spent = 0
        self._assemble()
        check_indices(state["layers"])

    @classmethod
    def create(cls, settings, seed, mean=None, squared_norm=None, prior=None, whitening=None):
        """A network with random weights (Glorot and Bengio 2010, as ``MLPClassifier``).

        Parameters
        ----------
        settings : Settings
        seed : int
        mean : ndarray of shape (n_features,), or None
            The mean input that the first layer's updates subtract; None where they do not.
        squared_norm : float or None
            The mean squared norm of wide sparse input. The fan-in says nothing then.
        prior : ndarray of shape (n_outputs,), or None
            Intercepts that an output layer of many classes starts with.
        whitening : dict of ndarray, or None
            Of the first layer's input, see ``Whitening``; its mean takes the place of ``mean``.
        """
        rng = np.random.default_rng([seed, 0])
        factor = 2.0 if settings.activation == "logistic" else 6.0
        layers = []
        for (n_out, n_in), store, rule in zip(
            settings.shapes, settings.stores, settings.rules, strict=True
        ):
            bound = np.sqrt(factor / (n_in + n_out))
            if not layers and squared_norm:
                bound = SPARSE_START * np.sqrt(factor / squared_norm)
            drawn = _aligned((n_out, n_in))
            _draw(drawn, bound, rng)
            weights = drawn
            if store is not ByNode:  # whose shape they have: no second copy of what may be large
                weights = _aligned(store.shape(n_out, n_in))
                weights[:] = 0
                store.view(weights, n_out)[:] = drawn
            shapes = rule.state_shapes(n_out, n_in)
            layers.append(
                {
                    "weights": weights,
                    "intercepts": np.zeros(n_out, np.float32),
                    "optimizer": {k: np.zeros(s, np.float32) for k, s in shapes.items()},
                    "used": np.zeros(n_out, np.uint8),
                }
            )
        if whitening is not None:
            layers[0]["whitening"], mean = whitening, whitening["mean"]
            with one_blas_thread():  # no bit may depend on the machine's cores
                _whiten(layers[0]["weights"], whitening)
        elif mean is not None:
            layers[0]["mean"] = mean
        if mean is not None:
            # Nodes start at zero for the mean input, as they do in a standardised network.
            layers[0]["intercepts"] -= np.einsum("ij,j->i", layers[0]["weights"], mean)
        if settings.has_many_outputs and prior is not None:
            layers[-1]["intercepts"][:] = prior
        state = {
            "format": FORMAT,
            "settings": asdict(settings),
            "seed": seed,
            "n_epochs": 0,
            "n_seen": 0,
            "layers": layers,
        }
        for index, layer in enumerate(layers):
            if settings.hashes(index):
                layer["hashing"] = _new_hashing(settings, index, rng)
            n_out = len(layer["intercepts"])
            if settings.softens(index):
                layer["threshold"] = np.zeros(2)
            if settings.sorts(index):
                layer["nodes"] = np.arange(n_out, dtype=np.int32)
                layer["visits"] = np.zeros(n_out, np.int32)
                layer["busy"] = n_out
        return cls(state)

    # ---- the compiled side -------------------------------------------------------------

    def _assemble(self):
        """Build the compiled layers over the arrays in ``state``."""
        settings = self.settings
        by_magnitude = settings.activation in RANKED_BY_MAGNITUDE
        layers = []
        for index, arrays in enumerate(self.state["layers"]):
            n_out = len(arrays["intercepts"])
            store = settings.stores[index](
                arrays["weights"], arrays["intercepts"], arrays.get("mean")
            )
            is_output = index == len(settings.hidden_layer_sizes)
            selector = self._selector(store, index, by_magnitude and not is_output)
            if is_output and settings.hashes_outputs:
                k = settings.n_active[index]
                selector.n_judged = min(k, max(FEWEST_JUDGED, k // JUDGED))
                selector.most_listed = settings.most_listed(index)
                selector.training_list = min(k, selector.short_list)
                selector.training_visits = TRAINING_VISITS
                selector.n_explored = EXPLORED
            selector.n_busy = arrays.get("busy", n_out)
            if settings.softens(index):
                selector.threshold = Threshold(
                    arrays["threshold"], settings.n_active[index], n_out
                )
            activation = "identity" if is_output else settings.activation
            optimizer = settings.rules[index](store, arrays["optimizer"])
            if settings.thins(index):
                optimizer.thin()
            whitening = Whitening(arrays["whitening"]) if "whitening" in arrays else None
            layers.append(
                Layer(
                    store, selector, optimizer, activation, arrays["used"], arrays.get("visits"),
                    whitening,
                )
            )
        self.engine = Engine(layers, LOSSES[settings.loss](), settings.has_many_outputs)
        self.set_rates(**self.rates)
        self.share(self.shared)

    def _selector(self, store, index, by_magnitude):
        settings = self.settings
        k = settings.n_active[index]
        if not settings.hashes(index):
            if index == len(settings.hidden_layer_sizes):
                selector = AllNodes
            else:
                selector = SELECTIONS[settings.selection]
            if selector is LSHSelector:
                selector = WinnerTakeAll
            return selector(store, k, by_magnitude)
        hashing = self.state["layers"][index]["hashing"]
        n_bits = settings.hash_bits[index]
        family = HASH_FAMILIES[settings.hash_family](
            hashing["family"], n_bits, settings.hash_tables
        )
        ranking = RANKINGS[settings.hash_ranking]()
        nodes = None
        probing = Probing(
            n_bits, settings.hash_tables, hashing["n_probes"], ranking.directed, by_magnitude
        )
        if hashing["search"] == "cells":
            nodes, probing = Cells(hashing["cells"], hashing["index"], hashing["sketches"]), None
        elif hashing["search"] == "tables":
            crowd = max(1, CROWDED * store.n_out // 2**n_bits)
            nodes = HashTables(hashing["index"], n_bits, crowd)
        elif ranking.needs_codes:
            nodes = CodeScan(hashing["index"], n_bits)
        return LSHSelector(store, k, by_magnitude, family, nodes, probing, ranking, hashing)

    @property
    def hidden_layers(self):
        """The compiled hidden layers, input side first."""
        return self.engine.layers[:-1]

    @property
    def hash_search(self):
        """Each layer's candidates come from: "scan", "cells", "tables" or "exact"."""
        return [
            arrays["hashing"]["search"]
            if "hashing" in arrays and not layer.selector.exhaustive else "exact"
            for layer, arrays in zip(self.engine.layers, self.state["layers"], strict=True)
        ]

    @property
    def weights(self):
        """Views of the weights of every layer, (n_out, n_in)."""
        return [
            store.view(layer["weights"], len(layer["intercepts"]))
            for store, layer in zip(self.settings.stores, self.state["layers"], strict=True)
        ]

    def replace_hashing(self, index, hashing):
        """Give a hidden layer other hash functions: all of them, or none if interrupted."""
        self.fold()
        arrays = self.state["layers"][index]
        before = arrays["hashing"]
        try:
            arrays["hashing"] = hashing
            self._assemble()
        except BaseException:
            arrays["hashing"] = before
            self._assemble()
            raise

    def rearrange(self, index, nodes, codes):
        """File nodes in cells anew, some of which were full: these in the cells codes names."""
        hashing = self.state["layers"][index]["hashing"]
        cell = hashing["index"]["node_codes"][:, 0].copy()
        cell[nodes] = codes[:, 0]
        filed, sketches = Cells.arranged(
            cell, len(hashing["cells"]["spread"]), hashing["sketches"],
            hashing["index"]["place"], codes[:, 0],
        )
        self.replace_hashing(index, {**hashing, "index": filed, "sketches": sketches})

    def make_writable(self):
        """Copy arrays that are mapped read-only: training writes to all of them.

        All of them, or none if interrupted: what is compiled points into the arrays, and owns only
        the dicts that they are in.
        """
        before, after = self.state, _thawed(self.state)
        if after is before:
            return
        try:
            self.state = after
            self._assemble()
        except BaseException:
            self.state = before
            self._assemble()
            raise

    def snapshot(self):
        """A deep copy of what training may return to."""
        return [
            {key: layer[key].copy() for key in REMEMBERED if key in layer}
            for layer in self.state["layers"]
        ]

    def restore(self, snapshot):
        """Put a snapshot's weights back. The tables do not follow; see ``Rehasher.rebuild``."""
        for weights, kept_weights, layer, kept, place, below in self._beside(snapshot):
            for rows in _pieces(weights.shape):
                weights[np.ix_(place[rows], below)] = kept_weights[rows]
            layer["intercepts"][place] = kept["intercepts"]
            if "threshold" in layer:
                layer["threshold"][:] = kept["threshold"]
        self.wake_nodes()
        self._assemble()  # with fresh bounds

    def blend_into(self, snapshot, share):
        """Move a snapshot towards the present weights, by a share of the difference."""
        for weights, kept_weights, layer, kept, place, below in self._beside(snapshot):
            for rows in _pieces(weights.shape):
                present = weights[np.ix_(place[rows], below)]
                kept_weights[rows] += share * (present - kept_weights[rows])
            kept["intercepts"] += share * (layer["intercepts"][place] - kept["intercepts"])
            if "threshold" in layer:
                kept["threshold"] += share * (layer["threshold"] - kept["threshold"])

    def _beside(self, snapshot):
        """Of each layer: its weights and the snapshot's, its arrays and the snapshot's, and where
        the snapshot's nodes, and those below, are now: they may have been sorted since."""
        below = np.arange(self.settings.n_features)
        for layer, store, kept in zip(
            self.state["layers"], self.settings.stores, snapshot, strict=True
        ):
            n_out = len(layer["intercepts"])
            place = np.arange(n_out)
            if "nodes" in layer:
                place = np.argsort(layer["nodes"])[kept["nodes"]]
            weights, kept_weights = (store.view(a["weights"], n_out) for a in (layer, kept))
            yield weights, kept_weights, layer, kept, place, below
            below = place

    # ---- the order of nodes ------------------------------------------------------------

    def sort_nodes(self, index):
        """Put the nodes of a hidden layer into the order of their use, the busiest first.

        Those that hardly any example visits are left out of training until ``wake_nodes``: scans
        and exact activations end before them. Prediction goes over all.

        What the network computes does not depend on it (but for rounding), what it takes does:
        the few nodes that examples have in common share cache lines.
        """
        self.fold()
        layer, above = self.state["layers"][index : index + 2]
        order = np.argsort(-layer["visits"], kind="stable").astype(np.int32)
        rows = [layer[key] for key in ("intercepts", "used", "visits", "nodes")]
        rows += [layer["optimizer"][key] for key in self.settings.rules[index].by_node]
        rows.append(self.weights[index])
        if self.settings.stores[index] is not ByFeature:  # whose bounds are not the nodes'
            rows.append(self.engine.layers[index].store.bounds)
        optimizer = self.engine.layers[index + 1].optimizer
        columns = [self.weights[index + 1], *(above["optimizer"][k] for k in optimizer.by_input)]
        names = []
        if "hashing" in layer:
            hashing = layer["hashing"]
            rows.append(hashing["dirty"])
            if "index" in hashing:
                rows.append(hashing["index"]["node_codes"])
            if hashing["search"] == "cells":
                rows.append(hashing["index"]["place"])
                names = [hashing["index"]["ids"]]
            else:
                rows.append(hashing["sketches"])
            if "after" in hashing.get("index", {}):
                columns += [hashing["index"][key] for key in ("after", "before")]
                names = [hashing["index"][key] for key in ("head", "after", "before")]
        if "hashing" in above:
            family = above["hashing"]["family"]
            rows += [family[key] for key in HASH_FAMILIES[self.settings.hash_family].by_input]
        reorder(order, [(a, 0) for a in rows] + [(a, 1) for a in columns], names)
        most, n_active = self.settings.most_active(index), self.settings.n_active[index]
        n_examples = layer["visits"].sum(dtype=np.int64) / n_active
        rare = min(RARE, RARE_PART * n_active / len(order)) * n_examples
        layer["busy"] = max(most, int(np.count_nonzero(layer["visits"] > rare)))
        self.hidden_layers[index].selector.n_busy = layer["busy"]
        layer["visits"] //= 2

    def wake_nodes(self):
        """Let all nodes take part in training until the next call of ``sort_nodes``."""
        for layer, arrays in zip(self.hidden_layers, self.state["layers"], strict=False):
            if "busy" in arrays:
                arrays["busy"] = layer.selector.n_busy = len(arrays["intercepts"])

    # ---- before a pass -----------------------------------------------------------------

    def set_rates(self, learning_rate, momentum, alpha):
        """Step size, momentum and L2 of every layer from now on."""
        self.rates = {"learning_rate": learning_rate, "momentum": momentum, "alpha": alpha}
        for layer in self.engine.layers:
            layer.optimizer.learning_rate = learning_rate
            layer.optimizer.momentum = momentum
            layer.optimizer.alpha = alpha

    def share(self, shared):
        """Whether threads, or simulated workers, update rows without waiting for each other.

        Told before workspaces are made for the pass.
        """
        self.shared = shared
        for layer in self.engine.layers:
            layer.share(shared)

    def fold(self):
        """Fold in what is lazy, so that ``state`` holds the weights themselves."""
        for layer in self.engine.layers:
            layer.store.fold_all()


def _aligned(shape):
    """An empty float32 array that starts with a cache line: rows then straddle fewer of them.

    Nothing but time depends on it. Arrays of a loaded model may start anywhere.
    """
    size = 4 * int(np.prod(shape))
    raw = np.empty(size + 63, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(np.float32).reshape(shape)


def _draw(array, bound, rng):
    """Fill a float32 array from between the bound and its negative, piece by piece: in cache."""
    flat = array.reshape(-1)
    for start in range(0, len(flat), DRAWN_TOGETHER):
        piece = flat[start : start + DRAWN_TOGETHER]
        rng.random(out=piece, dtype=np.float32)
        piece -= np.float32(0.5)
        piece *= np.float32(2 * bound)


def _whiten(weights, whitening):
    """From weights for the whitened input to those for the input itself, in place."""
    directions = whitening["directions"]
    taken = 1 - np.sqrt(1 - whitening["reduction"])
    for start in range(0, len(weights), WHITENED_TOGETHER):
        rows = weights[start : start + WHITENED_TOGETHER]
        rows -= ((rows @ directions.T) * taken) @ directions
        rows *= np.sqrt(whitening["gain"])


def _pieces(shape):
    """Slices of the rows of weights of this shape that are copied in one go."""
    step = max(1, COPIED_TOGETHER // shape[1])
    return [slice(start, start + step) for start in range(0, shape[0], step)]


def _new_hashing(settings, index, rng):
    """Arrays of one layer's hashing; every sketch is marked stale."""
    n_out, n_in = settings.shapes[index]
    n_bits, n_tables = settings.hash_bits[index], settings.hash_tables
    family = HASH_FAMILIES[settings.hash_family].draw(n_in, n_bits, n_tables, rng)
    search = settings.first_search(index)
    needs_codes = RANKINGS[settings.hash_ranking].needs_codes
    hashing = {
        "search": search,
        "family": family,
        "sketches": np.zeros((n_out, family["matrix"].shape[1]), np.float32),
        "dirty": np.full(n_out, 2, np.uint8),
        "n_probes": PROBES if settings.hash_probes == "auto" else settings.hash_probes,
        "short_list": min(n_out, SHORT_LIST * settings.n_active[index]),
    }
    if search == "tables" or needs_codes:
        hashing["index"] = (HashTables if search == "tables" else CodeScan).empty(
            n_out, n_tables, n_bits
        )
    return hashing


def _thawed(value):
    """With copies of the read-only arrays in it; the same object where there are none."""
    if isinstance(value, np.ndarray):
        return value if value.flags.writeable else value.copy()
    if isinstance(value, dict):
        found = {key: _thawed(part) for key, part in value.items()}
        same = all(found[key] is value[key] for key in value)
    elif isinstance(value, list):
        found = [_thawed(part) for part in value]
        same = all(a is b for a, b in zip(found, value, strict=True))
    else:
        return value
    return value if same else found
