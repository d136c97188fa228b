"""Principal directions of a stream of samples, in plain NumPy."""

import numpy as np
from scipy.sparse import issparse

# Weight of all earlier samples against a new one, in rows: forgetting follows drifting layers.
MEMORY = 256
# Magnitudes beyond this are clipped.
LARGEST = 1e30


def principal_subspace(sample, rank, rng, prior=None):
    """Leading principal directions of a sample, merged with those of earlier samples.

    Subspace iteration (Halko, Martinsson and Tropp 2011) on the centred sample stacked over
    the scaled earlier directions; the sample is centred implicitly and may stay sparse.

    Parameters
    ----------
    sample : CSR matrix or array of shape (n_rows, n_features)
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
    # In double precision, and clipped: features near float32's limit must not overflow here.
    sample = sample.astype(np.float64)
    values = sample.data if issparse(sample) else sample
    np.clip(values, -LARGEST, LARGEST, out=values)
    rank = min(rank, n_features)
    old_mean, old_directions, old_variances, seen = prior or (0, None, None, 0)
    remembered = min(seen, MEMORY)
    share = n / (n + remembered)
    sample_mean = np.asarray(sample.mean(axis=0)).ravel()
    mean = share * sample_mean + (1 - share) * old_mean

    start = rng.standard_normal((n_features, min(rank + 8, n_features)))
    extra = np.zeros((0, n_features))
    if remembered:
        start[:, : old_directions.shape[1]] = old_directions
        shift = np.sqrt(share * (1 - share)) * (sample_mean - old_mean)
        kept = np.sqrt((1 - share) * old_variances)[:, None] * old_directions.T
        extra = np.vstack([kept, shift[None]])
    scale = np.sqrt(share / n)

    def forward(v):  # the stacked matrix times v
        return np.vstack([scale * (sample @ v - sample_mean @ v), extra @ v])

    def backward(u):
        head, tail = u[:n], u[n:]
        return scale * (sample.T @ head - np.outer(sample_mean, head.sum(axis=0))) + extra.T @ tail

    spread = max(np.abs(values).max(initial=0), 1e-30) ** 2
    q = start
    for _ in range(2):
        # The random part of the basis keeps the rank full where the data do not.
        q, _ = np.linalg.qr(backward(forward(q)) + 1e-9 * spread * q)
    _, s, vt = np.linalg.svd(forward(q), full_matrices=False)
    directions = q @ vt[:rank].T
    if directions.shape[1] < rank:
        filler = rng.standard_normal((n_features, rank - directions.shape[1]))
        directions, _ = np.linalg.qr(np.hstack([directions, filler]))
    variances = np.zeros(rank)
    variances[: min(rank, len(s))] = s[:rank] ** 2
    stored = getattr(sample, "nnz", sample.size) + extra.size + 2 * n_features
    # Five passes over the data, and the orthogonalisations.
    multiplications = int(q.shape[1] * (5 * stored + 4 * n_features * q.shape[1]))
    return mean, directions, variances, seen + n, multiplications
