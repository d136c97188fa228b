"""What every test file takes for granted."""


def pytest_configure(config):
    # Tests train briefly on purpose.
    config.addinivalue_line("filterwarnings", "ignore:Stochastic Optimizer")
