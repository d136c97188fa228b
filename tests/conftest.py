"""What every test file takes for granted."""

import pytest


def pytest_configure(config):
    # Tests train briefly on purpose.
    config.addinivalue_line("filterwarnings", "ignore:Stochastic Optimizer")


@pytest.fixture
def lazy_mean(monkeypatch):
    """Data count as sparse: the solver that can subtracts the mean lazily, the others never do."""
    monkeypatch.setattr("sklearn_lsh._data.DENSE", 2)


@pytest.fixture(params=["dense", "lazy"])
def centring(request):
    """Both ways to centre a first layer, whatever the data."""
    if request.param == "lazy":
        request.getfixturevalue("lazy_mean")
    return request.param


@pytest.fixture
def sorted_often(monkeypatch):
    """Nodes are sorted after every 32 examples."""
    monkeypatch.setattr("sklearn_lsh._rehash.FIRST_SORTING", 32)
    monkeypatch.setattr("sklearn_lsh._rehash.LONGEST_SORTING", 32)
