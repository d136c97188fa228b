"""Which principal directions of the input a first layer sees reduced: partial whitening.

Neighbouring pixels are nearly equal, so a few directions hold most of the variance of images, and
say little about their classes. They decide which nodes are active and drown in every update what
the other directions say. Where that is so it pays to train as if the leading directions had no
more variance than the one that follows (see core/whitening.pyx); where the classes lie in the
leading directions, as in most tables of features, it harms (Wadia et al. 2021, "Whitening and
second order optimization both make information about the dataset unusable during training").

What helps is found out before training: by regression with the kernel that a wide network has,
on halves and quarters of some rows, for each number of directions. The more rows there are, the
more directions it pays to reduce, so errors are extrapolated to all rows.
"""

import numpy as np
from scipy.linalg import cho_factor, cho_solve, get_lapack_funcs

from .core.subspace import principal_subspace

# Numbers of directions that "auto" chooses from. More cost more than they gain; a few, where they
# were chosen, helped nobody.
CANDIDATES = (0, 32)
# None is whitened unless the error falls below this share of what it is without: whitened updates
# write to all weights of a row, not to those of the input's non-zeros alone.
WORTH = 0.95
# Fewer rows say too little; more features, and outputs, take too long.
FEWEST_ROWS, MOST_FEATURES, MOST_OUTPUTS = 512, 4096, 1000
# Of the kernel's diagonal: what is learned slowly in training counts little.
RIDGE = 0.02
# The squared intercept's input, relative to that of the rest.
INTERCEPT = 0.1
# Errors are taken to fall as a power of the number of rows, for so many doublings.
MOST_DOUBLINGS = 4
# Stands for zero in divisors.
TINY = 1e-30


def worth_asking(settings, n_rows):
    """Whether "auto" is to choose for such a network and so many rows, or takes 0."""
    return (
        len(settings.hidden_layer_sizes) > 0
        and n_rows >= FEWEST_ROWS
        and settings.n_features <= MOST_FEATURES
        and settings.n_outputs <= MOST_OUTPUTS
    )


def centring(mean):
    """The arrays of a ``Whitening`` that subtracts the mean input, and no more."""
    arrays = {
        "mean": mean, "directions": np.zeros((0, len(mean))), "reduction": np.zeros(0),
        "gain": np.ones(1),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def choose_whitening(sample, targets, n_rows, n_whitened, rng):
    """The arrays of a ``Whitening``, or None where there is to be none.

    Parameters
    ----------
    sample : CSR array of shape (n, n_features)
        Rows of the data.
    targets : ndarray of shape (n, n_outputs), or None
        Theirs, 0 or 1. Needed if n_whitened is "auto".
    n_rows : int
        How many the data have.
    n_whitened : int or "auto"
        Directions to reduce.
    rng : numpy.random.Generator

    Returns
    -------
    arrays : dict of ndarray or None
    multiplications : int
        Spent on it.
    """
    n, n_features = sample.shape
    candidates = CANDIDATES if n_whitened == "auto" else (n_whitened,)
    mean, directions, variances, _, spent = principal_subspace(
        sample, min(max(candidates) + 1, n_features), rng
    )
    centred = sample.toarray() - mean
    total = np.square(centred).sum() / n
    if not 0 < total < np.inf:
        return None, spent
    found = [Reduction(variances, total / n_features, k) for k in candidates]
    chosen = found[0]
    if n_whitened == "auto":
        order = rng.permutation(n)
        # In single precision, in which squares might overflow but for the scale.
        rows = (centred[order] / np.sqrt(total)).astype(np.float32)
        along = rows @ directions.astype(np.float32)
        errors, asked = extrapolated_errors(rows, along, targets[order], n_rows, found)
        best = int(np.argmin(errors))
        chosen = found[best] if errors[best] < WORTH * errors[0] else found[0]
        spent += asked
    k = chosen.n_directions
    if k == 0:
        return None, spent
    arrays = {
        "mean": mean,
        "directions": np.ascontiguousarray(directions[:, :k].T),
        "reduction": chosen.shares,
        # What is left has the variance of what there was, so that a learning rate fits both.
        "gain": np.array([total / (total - chosen.shares @ variances[:k])]),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}, spent


class Reduction:
    """The share of their variances that the leading directions lose.

    No direction falls below the mean variance: those that follow may be next to nothing.
    """

    def __init__(self, variances, mean_variance, n_directions):
        following = variances[n_directions] if n_directions < len(variances) else 0
        leading = variances[:n_directions]
        bound = max(following, mean_variance)
        self.shares = (1 - bound / leading[leading > bound]).astype(np.float32)
        self.n_directions = len(self.shares)


def extrapolated_errors(rows, along, targets, n_rows, reductions):
    """What a wide network would leave of the targets' variance, for each reduction.

    Parameters
    ----------
    rows : ndarray of shape (n, n_features)
        Centred, in random order.
    along : ndarray of shape (n, n_directions)
        Their coordinates along the principal directions.
    targets : ndarray of shape (n, n_outputs)
    n_rows : int
        Errors are those that training on so many rows would have.
    reductions : list of Reduction

    Returns
    -------
    errors : ndarray of shape (n_reductions,)
    multiplications : int
        Spent on it.
    """
    half = len(rows) // 2
    targets = targets - targets.mean(axis=0)
    doublings = min(MOST_DOUBLINGS, max(0, np.log2(n_rows / half)))
    of_halves, of_quarters = np.zeros((2, len(reductions)))
    spent = 0
    for start in (0, half):
        part, wanted = slice(start, start + half), targets[start : start + half]
        products = rows[part] @ rows[part].T
        for i, reduction in enumerate(reductions):
            here = along[part, : reduction.n_directions]
            kernel = network_kernel(products - (here * reduction.shares) @ here.T)
            of_halves[i] += left_out_error(kernel, wanted)
            for quarter in (slice(0, half // 2), slice(half // 2, half)):
                of_quarters[i] += left_out_error(kernel[quarter, quarter], wanted[quarter])
            # A factor and an inverse of the half, and of its two quarters.
            spent += half * half * here.shape[1] + half**3 * 5 // 8
        spent += half * half * rows.shape[1]
        falling = np.minimum(1, of_halves / np.maximum(of_quarters, TINY))
        errors = of_halves * falling**doublings
        if errors.min() == errors[0]:  # no gain: the second half is not asked
            break
    return errors / max(np.square(targets[: start + half]).sum(), TINY), spent


def network_kernel(products):
    """Neural tangent kernel of a wide network with one hidden layer of relu nodes.

    Of Jacot, Gabriel and Hongler 2018, in the closed form that follows from Cho and Saul 2009.

    Parameters
    ----------
    products : ndarray of shape (n, n)
        Of the rows with each other.

    Returns
    -------
    kernel : ndarray of shape (n, n)
        Of their precision.
    """
    norms = np.maximum(np.diagonal(products), 0)
    scale = max(norms.mean(), TINY)
    lengths = np.sqrt(norms / scale + INTERCEPT)
    lengths = lengths[:, None] * lengths
    cosines = np.clip((products / scale + INTERCEPT) / lengths, -1, 1)
    turned = np.pi - np.arccos(cosines)
    return lengths * (np.sqrt(1 - cosines * cosines) + 2 * cosines * turned) / (2 * np.pi)


def left_out_error(kernel, targets):
    """Squared error of kernel ridge regression, each row predicted from all others."""
    own = kernel + RIDGE * np.diag(np.diagonal(kernel))
    factor = cho_factor(own, lower=True, check_finite=False)
    (invert,) = get_lapack_funcs(("potri",), (own,))
    inverse, _ = invert(factor[0], lower=True)
    left = cho_solve(factor, targets, check_finite=False) / np.diagonal(inverse)[:, None]
    return np.square(left).sum()
