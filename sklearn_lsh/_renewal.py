"""Keeping hash functions and tables in step with the weights: how."""

import numpy as np
from scipy.sparse import csr_array

from ._calibration import (
    CELLS_WIDTH,
    Sample,
    choose_cells,
    choose_probes,
    choose_sketching,
    scattered,
)
from ._products import products
from ._threads import one_blas_thread
from .core.cells import Cells

# An output layer's predictions visit so many times the cells that the wanted recall takes: until
# the next renewal weights move, and a prediction costs little.
SPARE_VISITS = 2


def layer_inputs(network, index, rows, sample, workspaces):
    """The inputs (CSR) that a layer gets for the rows numbered in ``sample``."""
    if index == 0:
        indptr, indices, data = rows.sample(sample)
        width = rows.n_features
    else:
        indptr, indices, data = network.engine.hidden(
            rows, sample, index - 1, "outputs", workspaces
        )
        width = network.settings.hidden_layer_sizes[index - 1]
    return csr_array((data, indices, indptr), shape=(len(sample), width))


class Renewal:
    """Adapts the hash functions of a layer to its inputs, and computes all codes anew.

    Parameters
    ----------
    network : Network
    index : int
        Of the layer.
    inputs, held_out : CSR arrays of shape (n_rows, n_in)
        To estimate the basis from, and to measure recall on.
    aim : float
        The recall wanted of the cascade.
    known : bool
        Whether it is known what recall the present hash functions reached.
    workspaces : list of Workspace

    Attributes
    ----------
    multiplications : int
        Spent so far, but for the passes: those are counted in the workspaces.
    """

    def __init__(self, network, index, inputs, held_out, aim, known, workspaces):
        self.network = network
        self.index = index
        self.inputs = inputs
        self.held_out = held_out
        self.aim = aim
        self.known = known
        self.workspaces = workspaces
        self.multiplications = 0
        self.rng = np.random.default_rng(
            [network.state["seed"], 1, network.state["n_seen"], index]
        )

    @property
    def selector(self):
        """The layer's selector, which is built anew with its arrays."""
        return self.network.engine.layers[self.index].selector

    @property
    def arrays(self):
        """The layer's arrays."""
        return self.network.state["layers"][self.index]

    @property
    def hasty(self):
        """Whether the layer has many classes and learned nothing: any active set will do."""
        return (
            self.network.state["n_seen"] == 0 and self.index == self.network.engine.n_hidden
            and self.network.settings.hash_search[self.index] in ("auto", "cells")
            and self.selector.aims and self.selector.n_nodes >= CELLS_WIDTH
        )

    def run(self):
        """Do it. An interrupt leaves the hash functions as they were, or as they shall be."""
        # One thread, but in ``products``: results must not depend on the machine's cores.
        # Features near float32's limit may overflow here; such rows rank nothing.
        with one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
            self.network.fold()
            if self.hasty:
                self._scatter()
                return
            if self.selector.aims and self.selector.family.adaptive:
                self._measure()
            if self.selector.family.adaptive:
                self._adapt()
            self._encode()
            if self.selector.aims and self.arrays["hashing"]["search"] == "tables":
                self._choose_probes()

    def _measure(self):
        selector = self.selector
        self.exact = Sample.of(
            self.held_out, self.arrays["weights"], self.arrays["intercepts"], selector,
            len(self.workspaces),
        )
        self.multiplications += self.exact.spent

    def _scatter(self):
        """Give the layer the shortest sketches, and cells with no regard to them."""
        basis, nodes = self._project(min(self.selector.family.lengths))
        hashing = self._sketched(basis, nodes, nodes.shape[1])
        cells, cell = scattered(hashing["sketches"], hashing["short_list"], self.rng)
        hashing.update(search="cells", cells=cells)
        hashing["index"], hashing["sketches"] = Cells.arranged(
            cell, len(cells["spread"]), hashing["sketches"]
        )
        self.network.replace_hashing(self.index, hashing)

    def _adapt(self):
        """Estimate a basis; choose the length of sketches, the short list and the search."""
        network, selector, family = self.network, self.selector, self.selector.family
        # All lengths before the first example, or where what is known does not do.
        unknown = network.state["n_seen"] == 0 or selector.exhaustive
        basis, nodes = self._project(max(family.lengths) if unknown else family.next_length)
        mean, directions = basis[0], basis[1].astype(np.float32)
        queries = self.held_out @ directions - mean @ directions
        queries = np.column_stack([np.ones(len(queries)), queries]).astype(np.float32)
        dim, chosen = family.dim, None
        if selector.aims:
            auto = network.settings.hash_search[self.index] == "auto"
            chosen, spent = choose_sketching(
                self.exact, queries, nodes, self.aim,
                (self.network.settings.most_active(self.index), selector.most_listed), auto,
            )
            dim = chosen.dim
            self.multiplications += spent
        hashing = self._sketched(basis, nodes, dim)
        c = hashing["family"]["query_offset"][-1]
        self.queries = np.column_stack([queries[:, 1:dim], queries[:, 0] * c])
        if selector.aims:
            hashing["short_list"] = chosen.short_list
            if hashing["search"] != "tables":
                self._choose_search(hashing, chosen)
        network.replace_hashing(self.index, hashing)

    def _project(self, length):
        """A basis of the inputs for sketches of a length, and what nodes are in it: (n_nodes,
        length), the coordinate of the intercept first, which sketches of all lengths have."""
        weights = self.arrays["weights"]
        basis, spent = self.selector.family.basis(self.inputs, length, self.rng)
        # In float32: a mean of doubles would make a copy of all weights in double precision.
        directions = np.column_stack(basis[:2]).astype(np.float32)
        nodes = products(weights, directions, len(self.workspaces))
        nodes[:, 0] += self.arrays["intercepts"]
        self.multiplications += spent + nodes.size * weights.shape[1]
        return basis, nodes

    def _sketched(self, basis, nodes, dim):
        """The layer's hashing with the first ``dim`` numbers of what ``_project`` returned."""
        hashing, family = dict(self.arrays["hashing"]), self.selector.family
        hashing["family"] = family.spanned(basis, dim, family.n_bits, family.n_tables, self.rng)
        c = hashing["family"]["query_offset"][-1]
        hashing["sketches"] = np.column_stack([nodes[:, 1:dim], nodes[:, 0] / c])
        # Codes are computed next; should an interrupt come first, they are marked as stale.
        hashing["dirty"] = np.full(len(nodes), "index" in hashing, np.uint8)
        return hashing

    def _choose_search(self, hashing, sketching):
        """Scan the sketches, or visit cells of them: whichever costs less."""
        sketches = hashing["sketches"]
        wanted = self.network.settings.hash_search[self.index]
        known = None
        if hashing["search"] == "cells" and self.known:  # or they are scattered
            known = hashing["index"]["node_codes"][:, 0]
        hashing["search"] = "scan"
        hashing.pop("cells", None)
        hashing.pop("index", None)
        hashing["dirty"][:] = 0
        promising = (
            len(sketches) >= CELLS_WIDTH
            and hashing["short_list"] < len(sketches)
            and self.network.state["n_seen"] > 0  # or it has learned nothing, and has no clusters
        )
        # Their squares must fit float32.
        if not max(sketches.max(), -sketches.min()) < 1e15:
            return
        if wanted != "cells" and not (wanted == "auto" and promising):
            return
        cells, cell, cost, spent = choose_cells(
            self.exact, self.queries, sketches, (sketching, self.aim), self.rng,
            known, not self.known,  # whose rows will soon be all over
        )
        self.multiplications += spent
        if self.index == self.network.engine.n_hidden:
            cells["n_probes"] = min(len(cells["spread"]), SPARE_VISITS * cells["n_probes"])
        if wanted == "cells" or cost < sketches.size:
            hashing.update(search="cells", cells=cells)
            hashing["index"], hashing["sketches"] = Cells.arranged(
                cell, len(cells["spread"]), sketches
            )

    def _encode(self):
        """Compute what is stale of sketches, and all codes."""
        selector, engine = self.selector, self.network.engine
        everyone = np.arange(selector.n_nodes, dtype=np.int32)
        engine.refresh_sketches(self.index, everyone, self.workspaces)
        if selector.index is not None and selector.cells is None:
            weights, intercepts = self.arrays["weights"], self.arrays["intercepts"]
            self.arrays["hashing"]["dirty"] |= 1
            norms2 = np.einsum("ij,ij->i", weights, weights) + intercepts**2
            centred = not selector.by_magnitude
            selector.family.renew_norms(self.arrays["hashing"]["sketches"], norms2, centred)
            engine.encode(self.index, everyone, self.workspaces)

    def _choose_probes(self):
        """As many probes as the wanted recall takes, if that is left to us."""
        hashing, family = self.arrays["hashing"], self.selector.family
        if self.network.settings.hash_probes != "auto" or not family.adaptive:
            return
        margins = self.queries @ hashing["family"]["planes"].T
        n_probes = choose_probes(
            self.exact, margins, hashing["index"]["node_codes"], family.n_bits
        )
        self.multiplications += len(margins) * family.dim * margins.shape[1]
        self.network.replace_hashing(self.index, {**hashing, "n_probes": n_probes})
