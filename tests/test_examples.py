"""What a newcomer runs first: examples, docstrings, the import itself."""

import doctest
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
from problems import same_model
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sklearn_lsh import LSHMLPClassifier

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", path], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "SKLEARN_LSH_EXAMPLE_FAST": "1", "MPLBACKEND": "Agg"}, check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_there_are_examples():
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("name", ["sklearn_lsh._classifier", "sklearn_lsh.inspection"])
def test_docstrings(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0


def test_import_loads_nothing_optional():
    """Nothing, that is, beyond what scikit-learn loads itself."""
    code = (
        "import sys, sklearn.neural_network, sklearn.model_selection\n"
        "before = set(sys.modules)\n"
        "import sklearn_lsh\n"
        "optional = {'matplotlib', 'pandas', 'dask', 'torch', 'skops', 'onnx', 'pytest'}\n"
        "print(sorted(optional & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_documented_parameters_are_the_parameters():
    documented = inspect.getdoc(LSHMLPClassifier).split("Attributes\n")[0]
    for parameter in LSHMLPClassifier().get_params():
        assert f"\n{parameter} : " in documented, parameter


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer, load_digits])
def test_defaults_do_well_on_small_data(load):
    """One seed of benchmarks/small_data.py; the bar proper is 1.5 points on the mean of three."""
    x, y = load(return_X_y=True)
    if len(x) > 1000:
        x, y = x[:600], y[:600]
    with threadpool_limits(1):  # MLPClassifier's small products
        ours, theirs = (
            cross_val_score(make_pipeline(StandardScaler(), estimator), x, y, cv=3).mean()
            for estimator in (LSHMLPClassifier(random_state=0), MLPClassifier(random_state=0))
        )
    assert ours > theirs - 0.04


def test_documented_quickstart_is_reproducible():
    x, y = load_iris(return_X_y=True)
    first, second = (LSHMLPClassifier(random_state=0).fit(x, y) for _ in range(2))
    assert same_model(first, second)
