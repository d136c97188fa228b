"""The networks that are compared, behind one interface: ``train`` on rows once, ``predict``.

A peer is one class and one line of PEERS. All train without a callback or a logger, on float32
rows that lie in memory, with the settings that suit them.
"""

import warnings

import numpy as np

N_CLASSES = 10


class LSH:
    """This library, as installed: defaults but for the active share; and without waiting."""

    SETTINGS = ({}, {"threads_are": "lock_free"})

    def __init__(self, hidden, share, threads, seed, threads_are="waiting"):
        from sklearn_lsh import LSHMLPClassifier

        self.clf = LSHMLPClassifier(
            hidden, active_fraction=share, n_jobs=threads, random_state=seed,
            lock_free=threads_are == "lock_free",
        )

    def train(self, X, y):
        self.clf.partial_fit(X, y, classes=np.arange(N_CLASSES))

    def predict(self, X):
        return self.clf.predict(X)


class PyTorch:
    """A dense network in eager mode; batches are index selections, without a data loader."""

    # Rates: the best of 0.03, 0.1, 0.2, 0.4 (SGD) and 0.0003, 0.001, 0.003 (Adam) after two
    # epochs on half of MNIST with three layers of 1000, at each batch size.
    SETTINGS = tuple(
        {"optimizer": optimizer, "batch": batch, "rate": rate}
        for optimizer, rates in (
            ("sgd", (0.1, 0.1, 0.1, 0.2)), ("adam", (1e-3, 1e-3, 1e-3, 3e-3)),
        )
        for batch, rate in zip((64, 128, 256, 512), rates, strict=True)
    )

    def __init__(self, hidden, share, threads, seed, optimizer, batch, rate):
        import torch

        self.torch, self.batch = torch, batch
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        self.hidden, self.rate, self.optimizer = hidden, rate, optimizer
        self.net = None

    def start(self, n_features):
        nn, sizes, layers = self.torch.nn, [n_features, *self.hidden], []
        for n_in, n_out in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Linear(sizes[-1], N_CLASSES))
        optim, weights = self.torch.optim, self.net.parameters()
        if self.optimizer == "sgd":
            self.optimizer = optim.SGD(weights, self.rate, momentum=0.9)
        else:
            self.optimizer = optim.Adam(weights, self.rate)

    def train(self, X, y):
        if self.net is None:
            self.start(X.shape[1])
        X, y = self.torch.from_numpy(X), self.torch.from_numpy(y)
        loss = self.torch.nn.functional.cross_entropy
        for chosen in self.torch.randperm(len(X)).split(self.batch):
            self.optimizer.zero_grad()
            loss(self.net(X[chosen]), y[chosen]).backward()
            self.optimizer.step()

    def predict(self, X):
        with self.torch.inference_mode():
            return self.net(self.torch.from_numpy(X)).argmax(1).numpy()


class MLP:
    """scikit-learn's MLPClassifier with its defaults (Adam, batches of 200)."""

    SETTINGS = ({},)

    def __init__(self, hidden, share, threads, seed):
        from sklearn.neural_network import MLPClassifier

        self.clf = MLPClassifier(hidden, random_state=seed)
        self.threads = threads

    def train(self, X, y):
        from threadpoolctl import threadpool_limits

        with threadpool_limits(self.threads), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.clf.partial_fit(X, y, classes=np.arange(N_CLASSES))

    def predict(self, X):
        return self.clf.predict(X)


PEERS = {"lsh": LSH, "pytorch": PyTorch, "mlp_classifier": MLP}
