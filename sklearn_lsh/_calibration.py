"""How long sketches and short lists must be, measured on a sample of a layer's inputs.

Inputs whose variance falls off slowly need longer sketches or longer lists; wide layers whose
rows cluster can be searched by cells instead of one by one. All of it shows in the ranks that
the exact top nodes of a few inputs get.
"""

import warnings
from dataclasses import dataclass, field

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ._network import LONGEST_LIST
from ._products import products
from .core.cells import Centroids, cell_scores
from .core.hashing import MOST_PROBES, Subspace, probe_templates

# Share of the exact top nodes that the short list shall hold on the sample, if nothing calls
# for more. The visited cells may lose this share more; the probed buckets shall hold the last.
RECALL = 0.985
# The same of an output layer, of whose active set the best eighth are judged: the true labels are
# there anyway, and hardly others than these compete with them.
OUTPUT_RECALL = 0.97
CELL_LOSS = 0.01
TABLE_RECALL = 0.95
# Longest short list, in multiples of the active set (LONGEST_LIST) or as a share of the layer.
# Where it finds too few, exact activations of all nodes may cost this factor more.
LONGEST_SHARE = 0.2
EXACTNESS_MAY_COST = 4
# Recalls this near each other are equal: the cheaper sketch is taken.
NOTICEABLE = 0.01
# A multiplication at a gathered address takes as long as this many in a row; as the second
# number where the weights are more bytes than caches hold.
GATHER, GATHER_FAR = 2, 8
CACHE = 2**24
# A sketch in a visited cell takes as long as this many in one scan of all.
VISITED = 1.5
# Narrower layers are always scanned. Cells: about this many times the root of the width.
CELLS_WIDTH = 2048
CELLS_PER_ROOT = 2
CELLS_PER_GROUP = 32
# k-means sees this many rows a cell, those of the longest sketches.
ROWS_PER_CELL = 16
KMEANS_STEPS = 8
FURTHER_STEPS = 2


@dataclass(frozen=True)
class Sample:
    """The exact top nodes of a layer for some inputs, and what they cost.

    Attributes
    ----------
    top : list of ndarray
        The nodes of each input.
    by_magnitude : bool
    cost : float
        Of one exact activation, in multiplications at addresses in a row.
    spent : int
        Multiplications that the exact activations took.
    """

    top: list
    by_magnitude: bool
    cost: float
    spent: int

    @classmethod
    def of(cls, inputs, weights, intercepts, selector, n_threads=1):
        """For the rows of a CSR array, what the selector of a layer is to find."""
        used = np.unique(inputs.indices)
        if 2 * len(used) < weights.shape[1]:
            inputs_used, weights_used = inputs[:, used], weights[:, used]
        else:  # a copy of most of the weights would take longer than what it saves
            inputs_used, weights_used = inputs, weights
        activations = products(weights_used, inputs_used.toarray().T, n_threads)
        activations = np.ascontiguousarray(activations.T)
        activations += intercepts  # in place: of a million nodes this is large
        if selector.by_magnitude:
            np.abs(activations, out=activations)
        top = [exact_top(row, selector) for row in activations]
        stored = inputs.nnz / max(1, inputs.shape[0])
        # Rows with more than half of their features set are stored, and read, densely.
        gathered = 2 * stored <= inputs.shape[1]
        gather = GATHER_FAR if weights.nbytes > CACHE else GATHER
        cost = gather * stored if gathered else inputs.shape[1]
        return cls(top, selector.by_magnitude, cost, inputs.nnz * len(weights))

    def ranks(self, scores):
        """The ranks (from 0) of the top nodes of all inputs in the descending order of scores."""
        if self.by_magnitude:
            scores = np.abs(scores)
        return ranks(scores, self.top)


def exact_top(activations, selector):
    """The nodes that exact activations (one each) would make active, or judge selection by."""
    n = selector.n_judged
    bar = selector.threshold
    if bar is not None:
        n = bar.within(np.count_nonzero(activations > bar.value))
    return np.argpartition(activations, -n)[-n:]


def ranks(scores, chosen):
    """For each row, how many scores are higher than those of its chosen columns; of all rows."""
    return np.concatenate([
        ranks_of(row[columns], row) for row, columns in zip(scores, chosen, strict=True)
    ])


def ranks_of(own, scores):
    """How many of the scores are higher than each of ``own``."""
    ahead = np.sort(scores[scores > own.min()])  # hardly any, of good estimates
    return len(ahead) - np.searchsorted(ahead, own, side="right")


def share(values, wanted):
    """The smallest of the ascending values that this share of them does not exceed."""
    return int(values[max(1, int(np.ceil(wanted * len(values)))) - 1])


@dataclass(frozen=True)
class Sketching:
    """What was chosen: sketches of length ``dim``, the best ``short_list`` of them.

    ``ranks`` are those of the exact top nodes by such sketches, as ``Sample.ranks`` tells them.
    """

    dim: int
    short_list: int
    cost: float
    ranks: np.ndarray = field(compare=False)


def choose_sketching(sample, queries, rows, recall, bounds, may_be_exact):
    """The cheapest sketches and short list that find enough of the top nodes.

    Parameters
    ----------
    sample : Sample
    queries, rows : ndarray of shape (n_rows, rank + 1), (n_nodes, rank + 1)
        Inputs and nodes in the basis, the intercept's coordinate first: products of the first
        ``dim`` coordinates are the estimates that sketches of that length give.
    recall : float
        The share of the top nodes that the short list shall hold.
    bounds : tuple of int
        How short and how long the list may be: the largest active set, and room for so many.
    may_be_exact : bool
        Whether it may be all nodes, where exact activations are cheaper than sketches.

    Returns
    -------
    sketching : Sketching
    multiplications : int
    """
    n_nodes, longest = rows.shape
    most_active, most_listed = bounds
    limit = min(most_listed, max(LONGEST_LIST * most_active, int(LONGEST_SHARE * n_nodes)))
    scores, done, found = None, 0, {}
    for dim in sorted({min(dim, longest) for dim in Subspace.lengths}):
        further = queries[:, done:dim] @ rows[:, done:dim].T
        scores = further if scores is None else np.add(scores, further, out=scores)
        found[dim], done = sample.ranks(scores), dim
    reached = {dim: np.mean(r < limit) for dim, r in found.items()}
    wanted = min(recall, max(reached.values()) - NOTICEABLE)
    choices = []
    for dim, r in found.items():
        if reached[dim] >= wanted:
            short_list = int(np.clip(1 + share(np.sort(r), wanted), most_active, limit))
            cost = dim * n_nodes + (dim * GATHER + sample.cost) * short_list
            choices.append(Sketching(dim, short_list, cost, r))
    best = min(choices, key=lambda choice: choice.cost)
    exact = Sketching(min(found), n_nodes, n_nodes * sample.cost, found[min(found)])
    enough = max(reached.values()) >= recall - 2 * NOTICEABLE
    may_be_exact = may_be_exact and most_listed == n_nodes
    if may_be_exact and exact.cost <= best.cost * (1 if enough else EXACTNESS_MAY_COST):
        best = exact
    return best, int(queries.size * n_nodes)


def choose_cells(sample, queries, sketches, wanted, rng, known=None, hasty=False):
    """A partition of the nodes, and how many of its cells a query must visit.

    Parameters
    ----------
    sample : Sample
    queries, sketches : ndarray of shape (n_rows, dim), (n_nodes, dim)
    wanted : tuple of (Sketching, float)
        What the sketches are, and the share of the top nodes that the short list shall hold.
    rng : numpy.random.Generator
    known : ndarray of shape (n_nodes,), int32, or None
        Cells that the nodes are in; the strays' number is that of cells.
    hasty : bool
        Whether the nodes will soon be all over.

    Returns
    -------
    cells : dict
        As ``Cells`` takes it.
    cell : ndarray of shape (n_nodes,), int32
        The cell of each node.
    cost : float
        Multiplications a query, in units of those in a row.
    multiplications : int
        Spent here.
    """
    n_nodes, dim = sketches.shape
    sketching, recall = wanted
    short_list = sketching.short_list
    n_cells = count_cells(n_nodes)
    cells, cell, spent = partition(sketches, n_cells, rng, known, hasty)
    members = np.bincount(cell, minlength=n_cells)
    scores = cell_scores(cells, queries, sample.by_magnitude)
    scores[:, members == 0] = -np.inf
    # Only nodes that the short list would hold can be lost here.
    listed = sketching.ranks < short_list
    visits = ranks(scores, [cell[top] for top in sample.top])[listed] + 1
    visits = share(np.sort(visits), recall - CELL_LOSS) if visits.size else 1
    # At least enough to fill the short list, were the cells of one size.
    n_probes = int(min(n_cells, max(visits, np.ceil(n_cells * short_list / n_nodes))))
    best = np.argpartition(-scores, n_probes - 1, axis=1)[:, :n_probes]
    met = members[best].sum(axis=1).mean()
    cost = dim * (n_cells + VISITED * met)
    return {**cells, "n_probes": n_probes}, cell, cost, spent + queries.size * n_cells


def scattered(sketches, n_listed, rng):
    """Cells of nodes as they come, for a layer that has learned nothing.

    Parameters
    ----------
    sketches : ndarray of shape (n_nodes, dim), float32
    n_listed : int
        Nodes that a query shall find.
    rng : numpy.random.Generator

    Returns
    -------
    cells, cell
        As of ``choose_cells``.
    """
    n_nodes, n_cells = len(sketches), count_cells(len(sketches))
    cells = grouped(sketches[:n_cells], rng)
    cells["spread"] = np.zeros(n_cells, np.float32)
    cells["far"] = np.full(2, np.inf, np.float32)  # no one leaves
    cells["n_probes"] = int(np.ceil(n_cells * n_listed / n_nodes))
    return cells, np.arange(n_nodes, dtype=np.int32) % n_cells


def count_cells(n_nodes):
    """A power of two, as the buckets of a table are."""
    n_bits = np.ceil(np.log2(CELLS_PER_ROOT * np.sqrt(n_nodes)))
    return 2 ** int(min(n_bits, np.floor(np.log2(n_nodes))))


def partition(sketches, n_cells, rng, known=None, hasty=False):
    """Divide rows into k-means cells.

    Parameters
    ----------
    sketches : ndarray of shape (n_nodes, dim), float32
    n_cells : int
        At most n_nodes.
    rng : numpy.random.Generator
    known : ndarray of shape (n_nodes,), int32, or None
        As many cells that the rows are in, to go on from.
    hasty : bool
        Whether one step of k-means does.

    Returns
    -------
    cells : dict
        As ``Cells`` takes it, but for ``n_probes``.
    cell : ndarray of shape (n_nodes,), int32
        Where each row belongs.
    multiplications : int
    """
    # Squared distances from the mean, but for a constant: without a copy of all.
    norms = half_norms(sketches) - sketches @ sketches.mean(axis=0)
    n_rows = min(len(sketches), ROWS_PER_CELL * n_cells)
    longest = sketches[np.argpartition(-norms, n_rows - 1)[:n_rows]]
    start, steps = "random", 1 if hasty else KMEANS_STEPS
    if known is not None:
        start, steps = means(sketches, known, n_cells), FURTHER_STEPS
    drawn = kmeans(longest, n_cells, start, steps, rng)
    cells = grouped(drawn.cluster_centers_, rng)
    cell, squares, filing = Centroids(cells).assign(sketches)
    members = np.maximum(np.bincount(cell, minlength=n_cells), 1)
    spread = np.sqrt(np.bincount(cell, squares, n_cells) / members)
    cells["spread"] = spread.astype(np.float32)
    cells["far"] = np.full(2, np.sqrt(squares.mean()), np.float32)
    return cells, cell, sketches.shape[1] * n_cells * n_rows * drawn.n_iter_ + filing


def kmeans(rows, n_clusters, start, steps, rng):
    """scikit-learn's, from given centres or ``"random"`` rows, for so many steps at most."""
    from sklearn.cluster import KMeans  # slow to import, and only wide layers need it

    model = KMeans(
        n_clusters, init=start, n_init=1, max_iter=steps, tol=0,
        random_state=int(rng.integers(2**31)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal rows: some stay empty
        return model.fit(rows)


def grouped(centroids, rng):
    """Cells by their centroids, near ones in groups, as ``Centroids`` takes them."""
    n_groups = max(1, len(centroids) // CELLS_PER_GROUP)
    model = kmeans(centroids, n_groups, "random", KMEANS_STEPS, rng)
    order = np.argsort(model.labels_, kind="stable")
    sizes = np.bincount(model.labels_, minlength=n_groups)
    taken = sizes > 0  # of equal centroids some groups get none, and are nothing to look into
    cells = {
        "centroids": centroids[order],
        "groups": model.cluster_centers_[taken],
        "group_start": np.concatenate([[0], np.cumsum(sizes[taken])]).astype(np.int32),
    }
    cells = {name: np.ascontiguousarray(array) for name, array in cells.items()}
    return cells | {"half_norms": half_norms(cells["centroids"]),
                    "group_half_norms": half_norms(cells["groups"])}


def half_norms(rows):
    return 0.5 * np.einsum("ij,ij->i", rows, rows)


def means(rows, cell, n_cells):
    """The mean row of each cell; of an empty one, any row. Strays belong to none."""
    members = np.bincount(cell, minlength=n_cells)[:n_cells]
    sums = [np.bincount(cell, column, n_cells)[:n_cells] for column in rows.T]
    found = np.column_stack(sums) / np.maximum(members, 1)[:, None]
    empty = np.flatnonzero(members == 0)
    found[empty] = rows[empty]
    return found.astype(np.float32)


def choose_probes(sample, margins, node_codes, n_bits):
    """How many buckets a query must look into in each table.

    Parameters
    ----------
    sample : Sample
    margins : ndarray of shape (n_rows, n_tables * n_bits)
        Of the queries, to the hyperplanes.
    node_codes : ndarray of shape (n_nodes, n_tables), int32
    n_bits : int

    Returns
    -------
    n_probes : int
        Of directed multi-probing; at most MOST_PROBES.
    """
    n_rows, n_tables = len(margins), node_codes.shape[1]
    margins = margins.reshape(n_rows, n_tables, n_bits)
    codes = ((margins > 0) << np.arange(n_bits)).sum(axis=2)
    order = np.argsort(np.abs(margins), axis=2)
    # The position of every set of flipped bits in the sequence of probes.
    templates = probe_templates(n_bits, min(MOST_PROBES, 2**n_bits), True)
    ascending = np.argsort(templates)

    def position(flips):
        at = np.searchsorted(templates, flips, sorter=ascending)
        at = ascending[np.minimum(at, len(templates) - 1)]
        return np.where(templates[at] == flips, at, len(templates) - 1)

    needed = []
    for row, top in enumerate(sample.top):
        differing = node_codes[top] ^ codes[row]
        flipped = differing[:, :, None] >> order[row] & 1
        flipped = (flipped << np.arange(n_bits)).sum(axis=2)
        probes = position(flipped)
        if sample.by_magnitude:  # the negated query's code is the complement
            probes = np.minimum(probes, position(flipped ^ (2**n_bits - 1)))
        needed.append(probes.min(axis=1))
    return 1 + share(np.sort(np.concatenate(needed)), TABLE_RECALL)
