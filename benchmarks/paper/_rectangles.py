"""Tall or wide: a rectangle cut out of one patch of a photograph, laid on another.

After rectangles-image of Larochelle et al. (2007), see _convex.py. Sides are drawn
uniformly, then thrown away where they are shorter than 10 pixels, differ by less than 5 or
enclose less than 25 % or more than 75 % of the image, and so are patches of low variance.
The authors' photographs are not at hand: the two that come with scikit-learn serve, in
several scales and all eight orientations, training and test patches from disjoint quarters.
To read them takes pillow; without it, 1/f noise stands in.
"""

import numpy as np
from scipy.ndimage import gaussian_filter, zoom
from sklearn.datasets import load_sample_images

SIZE = 28
TRAIN, TEST = 12_000, 50_000
SHORTEST, DIFFERENCE, AREA = 10, 5, (0.25, 0.75)
SCALES = 2.0 ** np.arange(0, -2.5, -0.5)
# Smallest standard deviation of a patch. With it, and both patches of an image from one
# photograph, an SVM errs about as often as the authors' did.
CONTRAST = 30


def rectangles_image(photographs=None, n_train=TRAIN, n_test=TEST, seed=0):
    """X_train, y_train, X_test, y_test: (n, 28, 28) bytes; 1 stands for taller than wide.

    `photographs` are (height, width) arrays in [0, 255], None stands for noise.
    """
    rngs = np.random.default_rng(seed).spawn(2)
    parts = []
    for i, (n, rng) in enumerate(zip((n_train, n_test), rngs, strict=True)):
        if photographs is None:
            views = [pictures(noise(8, rng))]
        else:
            views = [pictures(quarters(photo)[i]) for photo in photographs]
        parts += draw(n, views, rng)[:2]
    return parts


def load_photographs():
    """scikit-learn's sample photographs in grey, None where pillow is missing."""
    try:
        return [photo.mean(2) for photo in load_sample_images().images]
    except ImportError:
        return None


def quarters(photo):
    """For training the upper left and the lower right one, for testing the others."""
    (a, b), (c, d) = (np.array_split(half, 2, axis=1) for half in np.array_split(photo, 2))
    return (a, d), (b, c)


def noise(n, rng, shape=(213, 320)):
    """Random fields with the 1/f spectrum of photographs."""
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    frequency[0, 0] = np.inf
    fields = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(n, *shape))) / frequency, shape)
    return list(np.clip(115 + 55 * fields / fields.std(), 0, 255))


def pictures(sources):
    """Each source in all scales and orientations."""
    scaled = [
        zoom(gaussian_filter(source, (1 / scale - 1) / 2), scale, order=1)
        for source in sources
        for scale in SCALES
    ]
    return [
        picture[::up, ::left]
        for image in scaled
        for picture in (image, image.T)
        for up in (1, -1)
        for left in (1, -1)
    ]


def draw(n, views, rng):
    """Images, labels, and the rectangles as top, left, height, width.

    `views` has a list of pictures for each photograph.
    """
    height, width = sides(n, rng).T
    top, left = rng.integers(0, SIZE - height + 1), rng.integers(0, SIZE - width + 1)
    at = np.arange(SIZE)
    rows = (at >= top[:, None]) & (at < (top + height)[:, None])
    columns = (at >= left[:, None]) & (at < (left + width)[:, None])
    inner, background = np.empty((2, n, SIZE, SIZE), np.uint8)
    photo = rng.integers(len(views), size=n)
    for i, pictures in enumerate(views):
        chosen = np.flatnonzero(photo == i)
        for patch in (inner, background):
            patch[chosen] = patches(len(chosen), pictures, rng)
    images = np.where(rows[:, :, None] & columns[:, None, :], inner, background)
    return images, (height > width).astype(int), np.column_stack([top, left, height, width])


def sides(n, rng):
    """(n, 2): half of the rectangles are tall, half are wide."""
    found = np.empty((0, 2), int)
    while len(found) < n:
        drawn = np.sort(rng.integers(SHORTEST, SIZE + 1, (2 * n + 10, 2)))
        area = drawn.prod(1) / SIZE**2
        kept = (drawn[:, 1] - drawn[:, 0] >= DIFFERENCE) & (AREA[0] <= area) & (area <= AREA[1])
        found = np.concatenate([found, drawn[kept]])
    tall = rng.permutation(np.arange(n) % 2 == 1)
    return np.where(tall[:, None], found[:n, ::-1], found[:n])


def patches(n, pictures, rng):
    """(n, 28, 28) bytes, as many from small pictures as from large ones."""
    found = np.empty((n, SIZE, SIZE), np.uint8)
    chosen = rng.integers(len(pictures), size=n)
    for i, picture in enumerate(pictures):
        windows = np.lib.stride_tricks.sliding_window_view(picture, (SIZE, SIZE))
        missing = np.flatnonzero(chosen == i)
        while len(missing):
            places = rng.integers(windows.shape[:2], size=(len(missing), 2))
            drawn = windows[tuple(places.T)]
            kept = drawn.std((1, 2)) >= CONTRAST
            found[missing[kept]] = drawn[kept]
            missing = missing[~kept]
    return found
