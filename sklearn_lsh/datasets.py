"""Files of the extreme classification repository: sparse rows with many labels.

The text format is a header ``n_samples n_features n_labels`` and a line a row,
``l1,l2 f:v f:v ...``, all numbers from 0. A line without labels begins with a space.
"""

import bz2
import gzip
import lzma
import warnings
import zlib
from contextlib import contextmanager
from itertools import islice

import numpy as np
from scipy import sparse

MAGIC = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
BATCH = 8192  # rows that load_xc parses at once
MOST = 2**53  # column numbers up to here are exact in float64


def load_xc(path_or_file):
    """Load a file in the text format of the extreme classification repository.

    Parameters
    ----------
    path_or_file : path-like or file object
        What gzip, bzip2 or xz compressed is decompressed; file objects (binary or text) are
        read as they are, from the header.

    Returns
    -------
    X : csr_array of shape (n_samples, n_features), float32
    Y : csr_array of shape (n_samples, n_labels), int32
        A 0/1 indicator.

    Raises
    ------
    ValueError
        If the file is malformed: a bad header, a label or feature out of range or twice in a
        row, a missing or non-finite value, too few or too many lines. Names the line.

    References
    ----------
    K. Bhatia et al., *The extreme classification repository: multi-label datasets and code*,
    2016.
    """
    X, Y = zip(*iter_xc(path_or_file, BATCH), strict=True)
    return sparse.vstack(X, format="csr"), sparse.vstack(Y, format="csr")


def iter_xc(path_or_file, batch_size=1024):
    """Read such a file a few rows at a time, for ``partial_fit``.

    Parameters
    ----------
    path_or_file : path-like or file object
        As for :func:`load_xc`.
    batch_size : int, default=1024
        Rows of a batch; memory is bounded by it. The last batch may be smaller.

    Yields
    ------
    X : csr_array of shape (batch_size, n_features), float32
    Y : csr_array of shape (batch_size, n_labels), int32
        At least one pair, without rows if the file has none.

    Raises
    ------
    ValueError
        As for :func:`load_xc`, once the line is read, and if batch_size is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size!r}.")
    with _opened(path_or_file) as file:
        lines = _lines(file)
        n_rows, *shape = _header(next(lines, b""))
        for start in range(0, max(n_rows, 1), batch_size):
            wanted = min(batch_size, n_rows - start)
            batch = list(islice(lines, wanted))
            if len(batch) < wanted:
                raise ValueError(f"The file ends after line {start + len(batch) + 1}; its header "
                                 f"announces {n_rows} rows.")
            yield _parse(batch, start + 2, *shape)
        for number, line in enumerate(lines, n_rows + 2):
            if line.strip():
                raise ValueError(f"Line {number}: the header announces {n_rows} rows only.")


@contextmanager
def _opened(path_or_file):
    if hasattr(path_or_file, "read"):
        yield path_or_file
        return
    with open(path_or_file, "rb") as file:
        start = file.peek(8)
    opener = next((MAGIC[magic] for magic in MAGIC if start.startswith(magic)), open)
    with opener(path_or_file, "rb") as file:
        yield file


def _lines(file):
    """Lines as bytes without their ends."""
    number = 0
    try:
        for line in file:
            number += 1
            yield (line.encode() if isinstance(line, str) else line).rstrip(b"\r\n")
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise ValueError(f"The compressed file breaks off after line {number}: {error}") from error


def _header(line):
    numbers = line.split()
    if len(numbers) != 3 or not all(n.isdigit() and int(n) < MOST for n in numbers):
        raise ValueError("Line 1: expected a header 'n_samples n_features n_labels', got "
                         f"{line[:60].decode(errors='replace')!r}.")
    return map(int, numbers)


def _parse(lines, number, n_features, n_labels):
    """X and Y of lines; the first has that number."""
    parts = [line.partition(b" ")[::2] for line in lines]
    found = _labels([head for head, _ in parts], n_labels)
    if found is not None:
        Y, found = found, _features([rest.strip() for _, rest in parts], n_features)
        if found is not None:
            return found, Y
    # Something is odd: line by line, which is slower, accepts more blanks and says what is wrong.
    rows = [_parse_line(*part, number + i, n_features, n_labels) for i, part in enumerate(parts)]
    columns, values, labels = zip(*rows, strict=True)
    X = _csr(list(map(len, columns)), _joined(columns), _joined(values), n_features)
    ones = np.ones(sum(map(len, labels)), np.int32)
    return X, _csr(list(map(len, labels)), _joined(labels), ones, n_labels)


def _joined(parts):
    return np.concatenate([np.asarray(part, np.float64) for part in parts])


def _labels(heads, n_labels):
    """All label lists at once; None if anything is odd."""
    counts = [head.count(b",") + 1 if head else 0 for head in heads]
    text = b",".join(filter(None, heads))
    if text.translate(None, b"0123456789,"):
        return None
    labels = _numbers(text, ",")
    if len(labels) != sum(counts):
        return None
    return _csr(counts, labels, np.ones(len(labels), np.int32), n_labels)


def _features(rests, n_features):
    """All features at once; None if anything is odd."""
    counts = [rest.count(b":") for rest in rests]
    text = b" ".join(filter(None, rests))
    if text.translate(None, b"0123456789 :.eE+-"):
        return None
    letters = np.frombuffer(text, np.uint8)
    between = np.flatnonzero((letters == ord(" ")) | (letters == ord(":")))
    kinds = letters[between]
    if np.any(kinds[::2] != ord(":")) or np.any(kinds[1::2] != ord(" ")):
        return None
    # Tokens are numbered from 0; an odd one is a value, an even one must be digits only.
    signs = np.flatnonzero(((letters < ord("0")) | (letters > ord("9"))) & (letters != ord(":"))
                           & (letters != ord(" ")))
    if np.any(np.searchsorted(between, signs) % 2 == 0):
        return None
    numbers = _numbers(text.replace(b":", b" "), " ")
    if len(numbers) != 2 * sum(counts):
        return None
    return _csr(counts, numbers[::2], numbers[1::2], n_features)


def _numbers(text, separator):
    """As many numbers as can be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return np.fromstring(text, sep=separator) if text else np.empty(0)
        except ValueError:
            return np.empty(0)


def _csr(counts, columns, values, n_columns):
    """Rows with sorted columns; None if a column or a value is out of range or comes twice."""
    if len(columns) and columns.max() >= n_columns:
        return None
    starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    if values.dtype == np.float64:
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        if not np.isfinite(values).all():
            return None
    index = np.int32 if max(n_columns, len(columns)) < 2**31 else np.int64
    rows = sparse.csr_array(
        (values, columns.astype(index), starts.astype(index)), shape=(len(counts), n_columns)
    )
    rows.sort_indices()
    repeated = np.flatnonzero(rows.indices[1:] == rows.indices[:-1]) + 1
    return rows if np.isin(repeated, starts).all() else None


def _parse_line(head, rest, number, n_features, n_labels):
    """Columns, values and labels of one line."""
    labels = [_index(text, n_labels, "label", number) for text in head.split(b",") if head]
    columns, values = [], []
    for item in rest.split():
        column, _, value = item.partition(b":")
        columns.append(_index(column, n_features, "feature", number))
        values.append(_value(value, item, number))
    for name, ids in (("label", labels), ("feature", columns)):
        if len(set(ids)) < len(ids):
            raise ValueError(f"Line {number}: a {name} comes twice.")
    return columns, values, labels


def _index(text, stop, name, number):
    if not text.isdigit():
        raise ValueError(f"Line {number}: {text[:60].decode(errors='replace')!r} is not a {name}"
                         + (" (a line without labels begins with a space)."
                            if b":" in text else "."))
    if int(text) >= stop:
        raise ValueError(f"Line {number}: {name} {int(text)} is out of range, there are {stop}.")
    return int(text)


def _value(text, item, number):
    try:
        value = float(text) if not text.translate(None, b"0123456789.eE+-") else np.nan
    except ValueError:
        value = np.nan
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.float32(value))
    if not finite:
        raise ValueError(f"Line {number}: {item[:60].decode(errors='replace')!r} has no finite "
                         "float32 value.")
    return value
