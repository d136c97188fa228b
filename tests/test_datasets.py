"""The loader of the extreme classification format: round trips and malformed files."""

import bz2
import gzip
import io
import lzma

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from sklearn_lsh.datasets import iter_xc, load_xc

VALUES = st.floats(width=32, allow_nan=False, allow_infinity=False)


def text_of(rows, n_features, n_labels, between=" ", end="\n"):
    """The file of rows, pairs of a set of labels and a dict of features."""
    lines = [f"{len(rows)} {n_features} {n_labels}"]
    for labels, features in rows:
        items = between.join(f"{f}:{v!r}" for f, v in features.items())
        lines.append(",".join(map(str, labels)) + " " + items)
    return (end.join(lines) + end).encode()


def dense(rows, n_features, n_labels):
    X = np.zeros((len(rows), n_features), np.float32)
    Y = np.zeros((len(rows), n_labels), int)
    for i, (labels, features) in enumerate(rows):
        Y[i, list(labels)] = 1
        X[i, list(features)] = list(features.values())
    return X, Y


@st.composite
def files(draw):
    n_features, n_labels = draw(st.integers(1, 30)), draw(st.integers(1, 12))
    row = st.tuples(st.sets(st.integers(0, n_labels - 1)),
                    st.dictionaries(st.integers(0, n_features - 1), VALUES, max_size=8))
    return draw(st.lists(row, max_size=9)), n_features, n_labels


@settings(max_examples=150, deadline=None)
@given(files(), st.integers(1, 5), st.sampled_from([" ", "  "]), st.sampled_from(["\n", "\r\n"]))
def test_round_trip(file, batch_size, between, end):
    text, expected = text_of(*file, between, end), dense(*file)
    batches = list(iter_xc(io.BytesIO(text), batch_size))
    assert all(X.shape[0] == Y.shape[0] <= batch_size for X, Y in batches)
    for X, Y in (
        load_xc(io.BytesIO(text)), load_xc(io.StringIO(text.decode(), newline="")),
        tuple(sparse.vstack(part, format="csr") for part in zip(*batches, strict=True)),
    ):
        assert X.dtype == np.float32 and X.has_sorted_indices and Y.has_sorted_indices
        np.testing.assert_array_equal(X.toarray(), expected[0])
        np.testing.assert_array_equal(Y.toarray(), expected[1])


@settings(max_examples=150, deadline=None)
@given(files(), st.data())
def test_damaged_files_raise_nothing_but_value_errors(file, data):
    text = bytearray(text_of(*file))
    place = data.draw(st.integers(0, len(text) - 1))
    text[place:place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        X, Y = load_xc(io.BytesIO(bytes(text)))
    except ValueError as error:
        assert "ine " in str(error)  # names the line
    else:
        assert np.isfinite(X.data).all() and X.shape[0] == Y.shape[0]
        assert X.has_canonical_format and Y.has_canonical_format


@pytest.mark.parametrize("opener", [open, gzip.open, bz2.open, lzma.open])
def test_compressed_files_whatever_their_name(opener, tmp_path):
    with opener(tmp_path / "train.txt", "wb") as file:
        file.write(b"2 3 2\n0,1 0:0.5 2:1e-3\n 1:-2\n")
    X, Y = load_xc(tmp_path / "train.txt")
    np.testing.assert_array_equal(X.toarray(), np.float32([[0.5, 0, 1e-3], [0, -2, 0]]))
    np.testing.assert_array_equal(Y.toarray(), [[1, 1], [0, 0]])


@pytest.mark.parametrize("packed", [gzip.compress, bz2.compress, lzma.compress])
def test_truncated_compressed_files(packed, tmp_path):
    whole = packed(text_of([({0}, {i: float(i)}) for i in range(999)], 1000, 1))
    (tmp_path / "train.txt").write_bytes(whole[:len(whole) // 2])
    with pytest.raises(ValueError, match="breaks off after line"):
        load_xc(tmp_path / "train.txt")


@pytest.mark.parametrize("text, message", [
    ("", "Line 1: expected a header"),
    ("2 3\n", "Line 1: expected a header"),
    ("1 3 -2\n 1:1\n", "Line 1: expected a header"),
    ("0 1:0.5\n", "Line 1: expected a header"),
    ("2 3 2\n0 1:1\n", "ends after line 2; its header announces 2 rows"),
    ("1 3 2\n0 1:1\n\n1 1:1\n", "Line 4: the header announces 1 rows only"),
    ("2 3 2\n0 1:1\n2 1:1\n", "Line 3: label 2 is out of range, there are 2"),
    ("1 3 2\n0 3:1\n", "Line 2: feature 3 is out of range, there are 3"),
    ("1 3 2\n0 -1:1\n", "Line 2: '-1' is not a feature"),
    ("1 3 2\n0 1.0:1\n", "Line 2: '1.0' is not a feature"),
    ("1 3 2\n0 1e0:1\n", "Line 2: '1e0' is not a feature"),
    ("1 3 2\n0,x 1:1\n", "Line 2: 'x' is not a label"),
    ("1 3 2\n0, 1:1\n", "Line 2: '' is not a label"),
    ("1 3 2\n0:1 1:1\n", "Line 2: '0:1' is not a label .*begins with a space"),
    ("1 3 2\n0 1 2:1\n", "Line 2: '1' has no finite"),
    ("1 3 2\n0 1:\n", "Line 2: '1:' has no finite"),
    ("1 3 2\n0 1: 2:1\n", "Line 2: '1:' has no finite"),
    ("1 3 2\n0 1:1:1\n", "Line 2: '1:1:1' has no finite"),
    ("1 3 2\n0 1:nan\n", "Line 2: '1:nan' has no finite"),
    ("1 3 2\n0 1:-inf\n", "Line 2: '1:-inf' has no finite"),
    ("1 3 2\n0 1:1e39\n", "Line 2: '1:1e39' has no finite"),
    ("1 3 2\n0 1:1.2.3\n", "Line 2: '1:1.2.3' has no finite"),
    ("1 3 2\n0 1:1_0\n", "Line 2: '1:1_0' has no finite"),
    ("2 3 2\n0 1:1\n0,0 1:1\n", "Line 3: a label comes twice"),
    ("2 3 2\n0 1:1\n0 1:1 2:1 1:2\n", "Line 3: a feature comes twice"),
])
def test_malformed(text, message):
    with pytest.raises(ValueError, match=message):
        load_xc(io.BytesIO(text.encode()))
    with pytest.raises(ValueError, match=message):
        list(iter_xc(io.BytesIO(text.encode()), 1))


def test_batches_come_before_a_later_line_is_read():
    batches = iter_xc(io.BytesIO(b"3 3 2\n0 1:1\n1 2:1\nbroken\n"), 2)
    X, Y = next(batches)
    assert X.shape == (2, 3) and Y.shape == (2, 2)
    with pytest.raises(ValueError, match="Line 4"):
        next(batches)
    with pytest.raises(ValueError, match="batch_size"):
        next(iter_xc(io.BytesIO(b"0 1 1\n"), 0))
