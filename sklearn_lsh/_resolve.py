"""What ``"auto"`` stands for: estimator parameters in, plain numbers out."""

from numbers import Integral, Real

import numpy as np

from ._calibration import CELLS_WIDTH
from ._network import Settings
from .core.optimizers import SOLVERS
from .core.selection import SELECTIONS

# active_fraction="auto": this share of a layer, but no fewer nodes than the floor.
AUTO_FRACTION = 0.05
AUTO_FLOOR = 50
# An input of so few active nodes is hardly longer than a sketch of it: where layers are not wide
# enough to be divided into cells, all activations cost no more than a scan of sketches, if
# weights can lie by input. Rows of wide sparse data may have as many as the second number.
SHORT_INPUT = 64
SHORT_ROW = 128


def resolve_settings(params, n_features, n_outputs, loss, entries=np.inf):
    """The network that an estimator's parameters describe.

    Parameters
    ----------
    params : dict
        As from ``get_params``; single values are valid, their combination is checked here.
    n_features, n_outputs : int
    loss : str
        A key of ``LOSSES``.
    entries : float
        Non-zeros of a typical row if the data are wide and sparse, infinite if they are not.

    Raises
    ------
    ValueError
        If hidden_layer_sizes, active_fraction or output_active do not describe a network,
        cells are asked for where nodes are not ranked by sketch, or alpha is too large.
    """
    hashed = params["selection"] == "lsh"
    ranked = params["hash_family"] == "subspace" and params["hash_ranking"] == "cascade"
    if params["hash_search"] == "cells" and hashed and not ranked:
        raise ValueError(
            'hash_search="cells" needs hash_family="subspace" and hash_ranking="cascade", got '
            f'{params["hash_family"]!r} and {params["hash_ranking"]!r}.'
        )
    rate = resolve_learning_rate(params["learning_rate_init"], params["solver"])
    check_decay(rate, params["alpha"])
    sizes = resolve_sizes(params["hidden_layer_sizes"])
    hidden_active = resolve_active(params["active_fraction"], sizes, params["selection"])
    n_active = (*hidden_active, resolve_output_active(params["output_active"], n_outputs))
    sizes_of_all = (*sizes, n_outputs)
    # Whether what layers get has few entries; the first may have more if it needs all nodes.
    short = [
        entries <= (SHORT_ROW if n_active[0] < sizes_of_all[0] else n_features),
        *(n <= SHORT_INPUT for n in hidden_active),
    ]
    searches = resolve_search(params, sizes_of_all, n_active, short, hashed and ranked)
    return Settings(
        n_features=n_features,
        hidden_layer_sizes=sizes,
        n_outputs=n_outputs,
        activation=params["activation"],
        loss=loss,
        selection=params["selection"],
        n_active=n_active,
        soft_threshold=resolve_threshold(params),
        solver=params["solver"],
        hash_family=params["hash_family"],
        hash_search=searches,
        hash_ranking=params["hash_ranking"],
        hash_bits=tuple(resolve_bits(params["hash_bits"], size) for size in sizes_of_all),
        hash_tables=int(params["hash_tables"]),
        hash_probes=params["hash_probes"],
        by_input=resolve_layout(params["selection"], params["solver"], searches, short),
    )


def resolve_sizes(hidden_layer_sizes):
    """Layer widths as a tuple of ints; an int stands for one layer, () for none."""
    sizes = hidden_layer_sizes
    if isinstance(sizes, Integral):
        sizes = (sizes,)
    sizes = tuple(sizes)
    if not all(isinstance(size, Integral) and size > 0 for size in sizes):
        raise ValueError(f"hidden_layer_sizes must be positive integers, got {sizes}.")
    return tuple(int(size) for size in sizes)


def resolve_active(active_fraction, sizes, selection):
    """Active nodes of each hidden layer."""
    given = active_fraction
    if selection == "all":
        return sizes
    if isinstance(given, (str, Real)):
        given = [given] * len(sizes)
    given = list(given)
    if len(given) != len(sizes):
        raise ValueError(
            f"active_fraction has {len(given)} entries for {len(sizes)} hidden layers: {given}"
        )
    return tuple(_active_nodes(g, size) for g, size in zip(given, sizes, strict=True))


def _active_nodes(given, size):
    if isinstance(given, str) and given == "auto":
        return min(size, max(AUTO_FLOOR, round(AUTO_FRACTION * size)))
    if isinstance(given, Integral) and not isinstance(given, bool):
        if 1 <= given <= size:
            return int(given)
    elif isinstance(given, Real) and not isinstance(given, bool) and 0 < given <= 1:
        return max(1, round(float(given) * size))
    raise ValueError(
        "active_fraction must be 'auto', a share in (0, 1], a number of nodes from 1 to the "
        f"layer's {size}, or a sequence of these; got {given!r}"
    )


def resolve_threshold(params):
    """Whether hidden layers have soft thresholds: where nodes are ranked by what they output."""
    ranked = params["selection"] == "winner_take_all" or (
        params["selection"] == "lsh" and params["hash_ranking"] == "cascade"
    )
    return params["active_threshold"] == "soft" and params["activation"] == "relu" and ranked


def resolve_output_active(output_active, n_outputs):
    """Active nodes of the output layer; all of them unless it is hashed."""
    if output_active is None:
        return n_outputs
    if isinstance(output_active, bool):
        raise ValueError(f"output_active must be None, a number or a share, got {output_active}")
    if isinstance(output_active, Integral):
        return min(int(output_active), n_outputs)
    return max(1, round(float(output_active) * n_outputs))


def resolve_search(params, sizes, n_active, short, may_be_exact):
    """Where the candidates of each layer come from; "exact" if it need not be hashed."""
    search, by_input = params["hash_search"], SOLVERS[params["solver"]].by_feature is not None
    # Where all nodes are active there is nothing to search.
    found = [
        "exact" if by_input and few and (
            k == size or may_be_exact and search == "auto" and size < CELLS_WIDTH
        ) else search
        for few, size, k in zip(short[:-1], sizes[:-1], n_active[:-1], strict=True)
    ]
    return (*found, search if n_active[-1] < sizes[-1] else "exact")


def resolve_layout(selection, solver, searches, short):
    """Which layers' weights lie by input: where all nodes read few inputs.

    Solvers with state for every weight keep it, and the weights, by node.
    """
    if SOLVERS[solver].by_feature is None:
        return (False,) * len(short)
    all_read = [
        SELECTIONS[selection].proposes_all or search == "exact" for search in searches[:-1]
    ]
    all_read.append(searches[-1] == "exact")
    return tuple(bool(few and read) for few, read in zip(short, all_read, strict=True))


def resolve_bits(hash_bits, size):
    """Bits of a code: by default buckets of about four nodes."""
    if hash_bits != "auto":
        return int(hash_bits)
    return int(np.clip(round(np.log2(size)) - 2, 2, 20))


def resolve_learning_rate(learning_rate_init, solver):
    """The step size; "auto" is the solver's own."""
    if learning_rate_init == "auto":
        return SOLVERS[solver].auto_learning_rate
    return float(learning_rate_init)


def check_decay(rate, alpha):
    """ValueError if an update would leave nothing of the weights that it shrinks, or less."""
    # In the numbers that updates are computed with. The comparison is false for NaN.
    with np.errstate(all="ignore"):
        shrunk = np.float32(1) - np.float32(rate) * np.float32(alpha)
    if not 0 < shrunk <= 1:
        most = min(1 / rate, float(np.finfo(np.float32).max))
        raise ValueError(
            f"an update shrinks weights by 1 - learning_rate_init * alpha, which has to be above "
            f"0: with the rate {rate:g}, alpha must be below {most:g}; got {alpha!r}"
        )
