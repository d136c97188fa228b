"""The data sets of benchmarks/paper: small drafts of them, drawn without a cache."""

import gzip
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import map_coordinates
from scipy.spatial import ConvexHull, QhullError

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
MODULES = ("_sets", "_convex", "_rectangles", "_norb", "_toys", "_infinite_mnist")


@pytest.fixture(scope="module")
def paper():
    """The modules; afterwards nothing of benchmarks/ is imported or on the path."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS / "paper")
        yield SimpleNamespace(**{name[1:]: __import__(name) for name in MODULES})
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def nothing_at_hand(monkeypatch, tmp_path):
    """No data, and an empty cache."""
    monkeypatch.delenv("SKLEARN_LSH_DATA", raising=False)
    monkeypatch.setenv("SKLEARN_LSH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def drafts(paper):
    """Small versions of what is generated, as functions of the seed."""
    toys = {"train_toys": (4, 6), "test_toys": (0, 1), "elevations": paper.toys.ELEVATIONS[:1]}
    return {
        "convex": lambda seed: paper.convex.convex(60, 40, seed),
        "rectangles": lambda seed: paper.rectangles.rectangles_image(None, 60, 40, seed),
        "toys": lambda seed: paper.toys.norb_like(**toys, seed=seed),
    }


# ---- all that is generated ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["convex", "rectangles", "toys"])
def test_drawn_sets(paper, name):
    draw = drafts(paper)[name]
    parts = draw(0)
    assert all(np.array_equal(a, b) for a, b in zip(parts, draw(0), strict=True))
    X_train, y_train, X_test, y_test = parts
    assert X_train.dtype == X_test.dtype == np.uint8
    assert X_train.max() > 200 and X_train.min() < 50
    for X, y in ((X_train, y_train), (X_test, y_test)):
        assert len(X) == len(y)
        assert len(set(np.bincount(y))) == 1  # classes of one size
        assert (np.diff(y) != 0).sum() > len(y) / 4  # and mixed
    other = draw(1)
    assert not np.array_equal(X_train, other[0])


def test_parts_share_no_image(paper):
    for name, draw in drafts(paper).items():
        X_train, _, X_test, _ = draw(0)
        # Half-planes may leave an image white; that is the only one to come twice.
        train, test = ({x.tobytes() for x in X if x.min() < 255} for X in (X_train, X_test))
        assert len(train) > len(X_train) / 2, name
        assert not train & test, name


# ---- convex ------------------------------------------------------------------------------


def pixels_in_hull(image):
    """The oracle: pixel centres within all edges of SciPy's hull, None if that is a line."""
    try:
        edges = ConvexHull(np.argwhere(image)).equations
    except QhullError:
        return None
    centres = np.argwhere(np.ones_like(image))
    return (centres @ edges[:, :2].T + edges[:, 2] < 1e-9).all(1).sum()


def test_convex_images_are_convex(paper):
    X, y, _, _ = paper.convex.convex(300, 2)
    images = X > 0
    hulls = [pixels_in_hull(image) for image in images]
    for image, label, hull in zip(images, y, hulls, strict=True):
        assert hull is None or (hull == image.sum()) == (label == 1)
    assert hulls.count(None) < 5


def test_hull_pixels(paper):
    rng = np.random.default_rng(0)
    images = rng.random((200, 28, 28)) < rng.choice([0.004, 0.01, 0.1], (200, 1, 1))
    hulls = paper.convex.hull_pixels(images)
    compared = [
        (hull, pixels_in_hull(image))
        for hull, image in zip(hulls, images, strict=True) if image.sum() > 2
    ]
    assert len(compared) > 100
    assert all(hull == expected for hull, expected in compared if expected is not None)


# ---- rectangles --------------------------------------------------------------------------


def test_rectangles(paper):
    rectangles = paper.rectangles
    rng = np.random.default_rng(0)
    # Two photographs without a shade in common: each pixel tells its patch's photograph.
    dark, bright = ([rng.uniform(low, low + 126, (60, 60))] for low in (0, 128))
    images, labels, drawn = rectangles.draw(200, [dark, bright], rng)
    assert_array_equal(labels, drawn[:, 2] > drawn[:, 3])
    top, left, height, width = drawn.T
    assert (drawn >= 0).all() and (top + height <= 28).all() and (left + width <= 28).all()
    assert np.minimum(height, width).min() >= 10
    assert np.abs(height - width).min() >= 5
    area = height * width / 28**2
    assert area.min() >= 0.25 and area.max() <= 0.75
    assert all((x < 128).all() or (x >= 128).all() for x in images)


def test_rectangle_lies_where_it_is_said_to(paper, monkeypatch):
    fills = iter([10, 20])
    monkeypatch.setattr(
        paper.rectangles, "patches", lambda n, *_: np.full((n, 28, 28), next(fills), np.uint8)
    )
    images, labels, drawn = paper.rectangles.draw(50, [None], np.random.default_rng(0))
    for image, label, (top, left, height, width) in zip(images, labels, drawn, strict=True):
        inside = np.argwhere(image == 10)
        assert_array_equal(inside.min(0), [top, left])
        assert_array_equal(inside.max(0) + 1, [top + height, left + width])
        assert label == (height > width)


def test_quarters_are_disjoint(paper):
    photo = np.arange(7 * 9).reshape(7, 9)
    train, test = (np.concatenate([q.ravel() for q in part])
                   for part in paper.rectangles.quarters(photo))
    assert_array_equal(np.sort(np.concatenate([train, test])), photo.ravel())


# ---- NORB --------------------------------------------------------------------------------


def write_matrix(path, array):
    """A file in NORB's format, in which a vector has three sizes."""
    magic = {"uint8": 0x1E3D4C55, "int32": 0x1E3D4C54}[array.dtype.name]
    sizes = array.shape + (1,) * (3 - array.ndim)
    content = struct.pack(f"<{2 + len(sizes)}I", magic, array.ndim, *sizes) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_norb(paper, folder, n=6, end=""):
    rng = np.random.default_rng(0)
    written = []
    for stem in paper.norb.STEMS:
        images = rng.integers(0, 256, (n, 2, 96, 96)).astype(np.uint8)
        images[:, 0, 0, 0] = np.arange(n)
        labels = np.arange(n, dtype=np.int32) % 5
        write_matrix(folder / f"{stem}-dat.mat{end}", images)
        write_matrix(folder / f"{stem}-cat.mat{end}", labels)
        written.append((images, labels))
    return written


@pytest.mark.parametrize("end", ["", ".gz"])
def test_norb_files(paper, monkeypatch, tmp_path, end):
    monkeypatch.setenv("SKLEARN_LSH_DATA", str(tmp_path))
    assert paper.norb.find_norb(tmp_path) is None
    written = write_norb(paper, tmp_path, end=end)
    data = paper.sets.load("norb")
    assert data.title == "small NORB"
    read = ((data.X_train, data.y_train), (data.X_test, data.y_test))
    for (images, labels), (X, y) in zip(written, read, strict=True):
        means = images.reshape(len(images), 2, 32, 3, 32, 3).mean((3, 5)).reshape(len(images), -1)
        assert X.shape == (6, 2048)
        # Rows are shuffled: find each one's original.
        original = np.abs(X[:, None] - means / 255).max(2).argmin(1)
        assert sorted(original) == list(range(6))
        assert_allclose(X, means[original] / 255, atol=0.51 / 255)
        assert_array_equal(y, labels[original])


def test_damaged_norb_files(paper, tmp_path):
    path = tmp_path / "some.mat"
    write_matrix(path, np.zeros((4, 3), np.int32))
    whole = path.read_bytes()
    assert paper.norb.read_matrix(path).shape == (4, 3)
    for content, message in (
        (b"", "format"),
        (b"\0" + whole[1:], "format"),
        (whole[:11], "header"),
        (whole[:4] + struct.pack("<I", 2**31) + whole[8:], "header"),
        (whole[:-1], "48 bytes of data expected"),
        (whole + b"\0", "48 bytes of data expected"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"some\.mat: .*{message}"):
            paper.norb.read_matrix(path)
    packed = tmp_path / "some.mat.gz"
    for content in (whole, gzip.compress(whole)[:-9]):
        packed.write_bytes(content)
        with pytest.raises(ValueError, match=r"some\.mat\.gz: not a whole gzip file"):
            paper.norb.read_matrix(packed)


def test_norb_files_that_do_not_fit(paper, tmp_path):
    write_norb(paper, tmp_path)
    paths = paper.norb.find_norb(tmp_path)
    write_matrix(paths[1], np.zeros(5, np.int32))
    with pytest.raises(ValueError, match="6 labels expected"):
        paper.norb.read_norb(paths)
    write_matrix(paths[0], np.zeros((6, 2, 32, 32), np.uint8))
    with pytest.raises(ValueError, match="96 x 96"):
        paper.norb.read_norb(paths)


# ---- toys --------------------------------------------------------------------------------


def test_toys_differ(paper):
    toys = paper.toys
    assert not set(toys.TRAIN_TOYS) & set(toys.TEST_TOYS)
    shapes = {
        np.concatenate([s.axes for s in toys.toy(label, number)]).tobytes()
        for label in range(5) for number in range(10)
    }
    assert len(shapes) == 50


@pytest.mark.parametrize("make", ["ellipsoid", "box"])
def test_surface(paper, make):
    """What rays meet lies on the solid, faces the camera, and has the right normal."""
    toys = paper.toys
    solid = getattr(toys, make)((0.1, -0.2, 0.05), (0.7, 0.4, 0.2), 0.3, -0.5, 0.9)
    camera = toys.cameras(0.6, np.array([0.4]))
    at = np.linspace(-1, 1, 41, dtype=np.float32)
    dx, dy = np.tile(at, 41), np.repeat(at, 41)
    meet = toys.meet_box if solid.is_box else toys.meet_ellipsoid
    z, normal = meet(dx[None], dy[None], (camera @ solid.turn).astype(np.float32),
                     solid.axes.astype(np.float32))
    view, ray = np.nonzero(~np.isnan(z))
    normals = normal(view, ray)
    # Back to the solid's own axes, in units of their lengths.
    turn = camera[0] @ solid.turn
    points = np.column_stack([dx[ray], dy[ray], z[0, ray]]) @ turn / solid.axes
    own = normals @ turn
    distance = np.abs(points).max(1) if solid.is_box else np.linalg.norm(points, axis=1)
    assert len(ray) > 100
    assert_allclose(distance, 1, atol=1e-4)
    assert (normals[:, 2] > -1e-4).all()
    assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)
    if solid.is_box:
        assert_allclose((own * points).sum(1), 1, atol=1e-4)
    else:
        gradient = points / solid.axes
        gradient /= np.linalg.norm(gradient, axis=1, keepdims=True)
        assert_allclose(own, gradient, atol=1e-3)


def test_nearer_solid_hides_the_other(paper):
    toys = paper.toys
    overhead = toys.cameras(np.pi / 2, np.zeros(1))
    low, high = toys.ellipsoid((0, 0, 0), (0.5, 0.5, 0.5)), toys.box((0, 0, 1), (0.2, 0.2, 0.1))
    for order in ((low, high), (high, low)):
        normals, hit = toys.surface(order, overhead)
        assert_allclose(normals[0, :, normals.shape[2] // 2 + 32], [0, 0, 1], atol=1e-6)
        assert 0.1 < hit.mean() < 0.3


# ---- infinite MNIST ----------------------------------------------------------------------


@pytest.fixture
def digits():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (20, 784)).astype(np.float32) / 255, np.arange(20) % 10


def test_infinite_mnist_is_reproducible(paper, digits):
    first, again = (paper.infinite_mnist.InfiniteMNIST(*digits, seed=3) for _ in range(2))
    X, y = first.batch(300)
    assert X.shape == (300, 784) and X.dtype == np.float32 and X.flags.c_contiguous
    assert X.min() >= 0 and X.max() <= 1
    X2, y2 = first.batch(300)
    assert not np.array_equal(X, X2)
    for batch in (again.batch(300, index=1), (again.batch(300), again.batch(300))[1]):
        assert_array_equal(batch[0], X2)
        assert_array_equal(batch[1], y2)
    other, _ = paper.infinite_mnist.InfiniteMNIST(*digits, seed=4).batch(300)
    assert not np.array_equal(X, other)


def test_undeformed_digits_come_back(paper, digits, monkeypatch):
    for name in ("ALPHA", "ROTATION", "SCALE", "SHIFT"):
        monkeypatch.setattr(paper.infinite_mnist, name, 0)
    images, labels = digits
    X, y = paper.infinite_mnist.InfiniteMNIST(images, np.arange(20)).batch(50)
    assert_allclose(X, images[y], atol=1e-5)
    assert len(set(y)) > 10


def test_deformed_digits_are_interpolated(paper, digits):
    stream = paper.infinite_mnist.InfiniteMNIST(*digits)
    sources, out = np.arange(20), np.empty((20, 784), np.float32)
    stream._deform(sources, np.random.default_rng(5), out)
    places = np.array(list(stream._places(20, np.random.default_rng(5))))
    expected = [
        map_coordinates(np.pad(image.reshape(28, 28), 1), places[:, i], order=1)
        for i, image in enumerate(digits[0])
    ]
    assert_allclose(out, expected, atol=1e-4)
    moved = places - (np.indices((28, 28)).reshape(2, 1, 784) + 1)
    assert 0.5 < moved.std() < 3


# ---- load --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "generator", "title"),
    [
        ("norb", "toys.norb_like", "NORB stand-in (rendered toys)"),
        ("convex", "convex.convex", "Convex (generated anew)"),
        ("rectangles_image", "rectangles.rectangles_image",
         "Rectangles-Image stand-in (1/f noise)"),
    ],
)
def test_load_generates_once(paper, nothing_at_hand, monkeypatch, name, generator, title):
    module, function = generator.split(".")
    arrays = drafts(paper)[module](0)
    calls = []

    def generate(*_):
        calls.append(name)
        return arrays

    monkeypatch.setattr(getattr(paper, module), function, generate)
    monkeypatch.setattr(paper.rectangles, "load_photographs", lambda: None)
    data = paper.sets.load(name, 50)
    assert (data.name, data.title, len(data.X_train)) == (name, title, 50)
    again = paper.sets.load(name, None, 30)
    assert len(again.X_test) == 30
    assert calls == [name]
    assert_array_equal(again.X_train[:50], data.X_train)
    assert_array_equal(data.y_test, arrays[3])
    for X, y in (data[2:4], data[4:]):
        assert X.dtype == np.float32 and X.flags.c_contiguous and y.dtype == np.int64
        assert X.min() >= 0 and 0.8 < X.max() <= 1
    assert len(list(nothing_at_hand.iterdir())) == 1


def test_load_digits_instead_of_mnist(paper, nothing_at_hand):
    data = paper.sets.load("mnist", 30, 20)
    assert "stand-in" in data.title
    assert data.X_train.shape == (30, 784) and data.X_test.shape == (20, 784)
    assert not nothing_at_hand.exists()


def test_load_names_the_sets(paper):
    assert list(paper.sets.SETS) == ["mnist", "norb", "convex", "rectangles_image"]
    with pytest.raises(ValueError, match="there are mnist, norb"):
        paper.sets.load("cifar")


def test_photographs(paper):
    photographs = paper.rectangles.load_photographs()
    if photographs is None:
        pytest.skip("no pillow")
    X, y, _, _ = paper.rectangles.rectangles_image(photographs, 40, 40)
    assert X.shape == (40, 28, 28) and sorted(set(y)) == [0, 1]
