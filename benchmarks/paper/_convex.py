"""Convex or not: black and white images after Larochelle et al. (2007).

H. Larochelle, D. Erhan, A. Courville, J. Bergstra, Y. Bengio: An empirical evaluation of
deep architectures on problems with many factors of variation, ICML 2007. The recipe is on
the page beside the paper: a convex image is an intersection of random half-planes; the
others are unions of two to four such sets, thrown away where they are convex after all.

The page leaves open how a half-plane lies. Here its edge passes through a random point and
it holds one that its set has in common, drawn from the middle two thirds: half-planes put
independently leave an SVM with 13 % errors where the authors had 19 %.
"""

import numpy as np

SIZE = 28
TRAIN, TEST = 8_000, 50_000
# Chance that a set gets no further half-plane, and the fewest pixels of a set.
CONVEX, PIECE = (0.195, 19), (0.07, 10)
COMMON_REGION = 2 / 3
CENTRES = np.arange(SIZE) + 0.5
BATCH = 4096


def convex(n_train=TRAIN, n_test=TEST, seed=0):
    """X_train, y_train, X_test, y_test: (n, 28, 28) bytes; 1 stands for convex."""
    rngs = np.random.default_rng(seed).spawn(2)
    return [part for n, rng in zip((n_train, n_test), rngs, strict=True) for part in draw(n, rng)]


def draw(n, rng):
    labels = rng.permutation(np.arange(n) % 2)
    images = np.empty((n, SIZE, SIZE), bool)
    images[labels == 1] = convex_sets(n // 2, *CONVEX, rng)
    images[labels == 0] = non_convex_sets(n - n // 2, rng)
    return images * np.uint8(255), labels


def convex_sets(n, stop, fewest, rng):
    """(n, 28, 28) bool; the number of half-planes is geometric and may be zero."""
    found, missing, batch = [], n, min(BATCH, 2 * n)
    while missing > 0:
        left = rng.geometric(stop, batch) - 1
        sets = np.ones((batch, SIZE, SIZE), bool)
        common = SIZE * (0.5 + COMMON_REGION * rng.uniform(-0.5, 0.5, (batch, 2)))
        while left.any():
            cut = np.flatnonzero(left)
            sets[cut] &= half_planes(common[cut], rng)
            left[cut] -= 1
            kept = sets.sum((1, 2)) >= fewest
            left, sets, common = left[kept], sets[kept], common[kept]
        found.append(sets)
        missing -= len(sets)
    return np.concatenate(found)[:n]


def half_planes(inside, rng):
    """Half-planes that hold the given points; their edges pass through uniform ones."""
    n = len(inside)
    edge, angle = rng.uniform(0, SIZE, (n, 2)), rng.uniform(0, 2 * np.pi, n)
    normal = np.column_stack([np.sin(angle), np.cos(angle)])
    normal *= np.sign(((inside - edge) * normal).sum(1, keepdims=True))
    rows, columns = (
        normal[:, axis, None] * (CENTRES - edge[:, axis, None]) for axis in range(2)
    )
    return rows[:, :, None] + columns[:, None, :] >= 0


def non_convex_sets(n, rng):
    found, missing, batch = [], n, min(BATCH, 2 * n)
    while missing > 0:
        count = rng.integers(2, 5, batch)
        pieces = convex_sets(4 * batch, *PIECE, rng).reshape(4, batch, SIZE, SIZE)
        pieces &= (np.arange(4)[:, None] < count)[:, :, None, None]
        union = pieces.any(0)
        union = union[~is_convex(union)]
        found.append(union)
        missing -= len(union)
    return np.concatenate(found)[:n]


def is_convex(images):
    """Whether each image holds all pixels whose centres lie in the hull of its own."""
    return hull_pixels(images) == images.sum((1, 2))


def hull_pixels(images):
    """Number of pixel centres in the convex hull of each image's pixels.

    In a row the hull ends where the furthest chord between two other rows' ends does.
    """
    filled = images.any(2)
    far = 1000 * SIZE  # a row without pixels never makes a chord that counts
    first = np.where(filled, images.argmax(2), far)
    last = np.where(filled, SIZE - 1 - images[:, :, ::-1].argmax(2), -far)
    left, right = first.copy(), last.copy()
    for top in range(SIZE):
        for bottom in range(top + 2, SIZE):
            between, height = slice(top + 1, bottom), bottom - top
            down = np.arange(1, height)
            chord = first[:, top, None] * (height - down) + first[:, bottom, None] * down
            left[:, between] = np.minimum(left[:, between], -(-chord // height))
            chord = last[:, top, None] * (height - down) + last[:, bottom, None] * down
            right[:, between] = np.maximum(right[:, between], chord // height)
    return np.maximum(right - left + 1, 0).sum(1)
