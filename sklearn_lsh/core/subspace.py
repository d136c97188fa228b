"""Principal directions of a stream of samples, in plain NumPy."""

import numpy as np
from scipy.sparse import issparse

# Weight of all earlier samples against a new one, in rows: forgetting follows drifting layers.
MEMORY = 256
# Magnitudes beyond this are clipped.
LARGEST = 1e30
# Further directions that the iteration carries along, and its rounds.
SPARE, ROUNDS = 8, 3
# Samples with more than this share of their entries stored are taken as dense.
DENSE = 0.25
# Variances smaller than this are rounding errors, relative to the largest, or to the squared mean.
NEGLIGIBLE = 1e-10


def principal_subspace(sample, rank, rng, prior=None):
    """Leading principal directions of a sample, merged with those of earlier samples.

    Those of few rows, that is: the centred sample and the scaled earlier directions. Found by
    subspace iteration (Halko, Martinsson and Tropp 2011) on the products of the rows or of the
    features, whichever are fewer; a wide sparse sample is centred implicitly.

    Parameters
    ----------
    sample : CSR array of shape (n_rows, n_features)
    rank : int
        Directions wanted. Where the data have fewer, random ones fill up.
    rng : numpy.random.Generator
    prior : tuple of (mean, directions, variances, n_seen) or None
        What an earlier call returned.

    Returns
    -------
    mean : ndarray of shape (n_features,)
    directions : ndarray of shape (n_features, rank)
        Orthonormal columns.
    variances : ndarray of shape (rank,)
        Of the data along them.
    n_seen : int
        Rows that stand behind the result.
    multiplications : int
        Spent on it, zeros of a sparse sample left out.
    """
    n, n_features = sample.shape
    rank = min(rank, n_features)
    # In double precision, and clipped: features near float32's limit must not overflow here.
    sample = sample.astype(np.float64)
    np.clip(sample.data, -LARGEST, LARGEST, out=sample.data)
    if sample.nnz > DENSE * n * n_features:
        sample = sample.toarray()
    old_mean, old_directions, old_variances, seen = prior or (0, None, None, 0)
    remembered = min(seen, MEMORY)
    share = n / (n + remembered)
    sample_mean = np.asarray(sample.mean(axis=0)).ravel()
    mean = share * sample_mean + (1 - share) * old_mean
    kept = np.zeros((0, n_features))
    if remembered:
        shift = np.sqrt(share * (1 - share)) * (sample_mean - old_mean)
        kept = np.vstack([np.sqrt((1 - share) * old_variances)[:, None] * old_directions.T, shift])

    rows = sample, sample_mean, np.sqrt(share / n), kept
    find = of_few_features if n_features <= n else of_few_rows
    directions, variances, spent = find(rows, rank, rng)
    missing = rank - len(variances)
    if missing:
        filler = rng.standard_normal((n_features, missing))
        directions, _ = np.linalg.qr(np.hstack([directions, filler]))
        variances = np.append(variances, np.zeros(missing))
    return mean, directions, variances, seen + n, int(spent)


def of_few_features(rows, rank, rng):
    """Leading directions of the centred and scaled sample and the rows kept, by their features.

    Returns
    -------
    directions : ndarray of shape (n_features, n_found)
    variances : ndarray of shape (n_found,)
    multiplications : int
    """
    sample, mean, scale, kept = rows
    sample = sample.toarray() if issparse(sample) else sample
    stacked = np.vstack([scale * (sample - mean), kept])
    directions, variances, spent = leading(stacked.T @ stacked, mean @ mean, rank, rng)
    return directions, variances, spent + stacked.size * stacked.shape[1]


def of_few_rows(rows, rank, rng):
    """The same as combinations of these rows, in time linear in the number of features."""
    sample, mean, scale, kept = rows
    n = sample.shape[0]
    along = sample @ mean
    own, met = sample @ sample.T, np.full(len(mean), n)
    if issparse(own):
        own, met = own.toarray(), np.bincount(sample.indices, minlength=len(mean))
    own = scale**2 * (own - along[:, None] - along + mean @ mean)
    across = scale * (sample @ kept.T - kept @ mean)
    products = np.block([[own, across], [across.T, kept @ kept.T]])
    combinations, variances, spent = leading(products, mean @ mean, rank, rng)
    head, tail = combinations[:n], combinations[n:]
    directions = sample.T @ head - np.outer(mean, head.sum(axis=0))
    directions = (scale * directions + kept.T @ tail) / np.sqrt(variances)
    stored = met.sum() + kept.size + 2 * len(mean)
    return directions, variances, spent + met @ met + (len(kept) + len(variances)) * stored


def leading(products, squared_mean, rank, rng):
    """Eigenvectors of a matrix of products with its largest eigenvalues that are not negligible.

    Returns
    -------
    vectors : ndarray of shape (n, n_found)
    values : ndarray of shape (n_found,)
        Descending.
    multiplications : int
    """
    n = len(products)
    width = min(rank + SPARE, n)
    q = rng.standard_normal((n, width))
    for _ in range(ROUNDS):
        q, _ = np.linalg.qr(products @ q)
    values, vectors = np.linalg.eigh(q.T @ products @ q)
    values, vectors = values[::-1][:rank], vectors[:, ::-1][:, :rank]
    found = values > NEGLIGIBLE * max(values[0], squared_mean)
    spent = width * n * ((ROUNDS + 1) * n + 2 * (ROUNDS + 1) * width)
    return q @ vectors[:, found], values[found], spent
