"""What is compared, behind one interface: ``fit``, ``top`` (the k best labels), ``size``.

A peer is one class and one line of PEERS; ``SETTINGS`` are what it may be told. Optional
libraries are imported where they are used; a peer whose library is missing is skipped.
"""

import pickle
import tempfile
import warnings
from pathlib import Path

import numpy as np
from _sets import indicator
from scipy import sparse

# Numbers of a dense target or of classifiers x rows above which a peer is not run.
MOST = 10**8


class Infeasible(Exception):
    """Why a peer is not run on a problem."""


def folder_size(path):
    return sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())


class Ours:
    """This library, as installed."""

    def __init__(self, threads, seed, epochs=10, hidden=128, output_active=None,
                 multilabel_loss="decoupled_softmax", **options):
        from sklearn_lsh import LSHMLPClassifier

        self.clf = LSHMLPClassifier(
            (hidden,), active_fraction=1.0, output_active=output_active, max_iter=epochs,
            multilabel_loss=multilabel_loss, n_jobs=threads, random_state=seed, **options,
        )

    def fit(self, X, Y, n_labels):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the number of epochs is given
            self.clf.fit(X, Y)

    def top(self, X, k):
        return self.clf.predict_topk(X, k)[0]

    def size(self):
        return len(pickle.dumps(self.clf))


class Omikuji:
    """omikuji with its defaults: Parabel, three trees. It trains from a file, predicts by row."""

    def __init__(self, threads, seed):
        import omikuji

        self.library, self.threads = omikuji, threads
        self.folder = tempfile.TemporaryDirectory()

    def prepare(self, X, Y, n_labels):
        """The file it reads; writing it is not counted as training."""
        Y = indicator(Y, n_labels)
        with open(Path(self.folder.name) / "train.txt", "w") as file:
            file.write(f"{X.shape[0]} {X.shape[1]} {n_labels}\n")
            for i in range(X.shape[0]):
                row, labels = slice(*X.indptr[i:i + 2]), Y.indices[slice(*Y.indptr[i:i + 2])]
                pairs = zip(X.indices[row].tolist(), X.data[row].tolist(), strict=True)
                file.write(",".join(map(str, labels)) + " "
                           + " ".join(f"{f}:{v:.7g}" for f, v in pairs) + "\n")

    def fit(self, X, Y, n_labels):
        self.model = self.library.Model.train_on_data(
            str(Path(self.folder.name) / "train.txt"), n_threads=self.threads
        )

    def top(self, X, k):
        top = np.full((X.shape[0], k), -1)
        for i in range(X.shape[0]):
            row = slice(*X.indptr[i:i + 2])
            pairs = list(zip(X.indices[row].tolist(), X.data[row].tolist(), strict=True))
            labels = [label for label, _ in self.model.predict(pairs, top_k=k)]
            top[i, :len(labels)] = labels
        return top

    def size(self):
        path = Path(self.folder.name) / "model"
        self.model.save(str(path))
        return folder_size(path)


class NapkinXC:
    """napkinXC's probabilistic label tree with its defaults."""

    def __init__(self, threads, seed):
        from napkinxc.models import PLT

        self.folder = tempfile.TemporaryDirectory()
        self.model = PLT(self.folder.name, threads=threads, seed=seed)

    def fit(self, X, Y, n_labels):
        self.model.fit(sparse.csr_matrix(X), sparse.csr_matrix(indicator(Y, n_labels)))
        self.model.load()

    def top(self, X, k):
        top = np.full((X.shape[0], k), -1)
        for row, labels in zip(top, self.model.predict(sparse.csr_matrix(X), top_k=k),
                               strict=True):
            row[:len(labels)] = labels
        return top

    def size(self):
        return folder_size(self.folder.name)


class PyTorch:
    """A dense network: embedding bag of the input, 128 hidden, all classes; Adam."""

    def __init__(self, threads, seed, loss="softmax", epochs=10, batch=256, rate=2e-3,
                 hidden=128):
        import torch

        self.torch, self.loss, self.hidden = torch, loss, hidden
        self.epochs, self.batch, self.rate = epochs, batch, rate
        torch.set_num_threads(threads)
        torch.manual_seed(seed)

    def forward(self, X):
        ids, values = (self.torch.from_numpy(a) for a in (X.indices, X.data))
        starts = self.torch.from_numpy(X.indptr[:-1].astype(X.indices.dtype))
        hidden = self.bag(ids, starts, per_sample_weights=values) + self.bias
        return self.last(self.torch.relu(hidden))

    def fit(self, X, Y, n_labels):
        torch, Y, rng = self.torch, indicator(Y, n_labels), np.random.default_rng(0)
        self.bag = torch.nn.EmbeddingBag(X.shape[1], self.hidden, mode="sum")
        torch.nn.init.normal_(self.bag.weight, std=self.hidden**-0.5)
        self.bias = torch.nn.Parameter(torch.zeros(self.hidden))
        self.last = torch.nn.Linear(self.hidden, n_labels)
        self.weights = [*self.bag.parameters(), self.bias, *self.last.parameters()]
        optimizer = torch.optim.Adam(self.weights, self.rate)
        for _ in range(self.epochs):
            order = rng.permutation(X.shape[0])
            for start in range(0, len(order), self.batch):
                rows = order[start:start + self.batch]
                optimizer.zero_grad()
                self.error(self.forward(X[rows]), Y[rows]).backward()
                optimizer.step()

    def error(self, outputs, Y):
        torch, counts = self.torch, np.diff(Y.indptr)
        rows = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
        right = outputs[rows, torch.from_numpy(Y.indices.astype(np.int64))]
        if self.loss == "sigmoid":
            return (torch.nn.functional.softplus(outputs).sum() - right.sum()) / len(counts)
        weights = torch.from_numpy((1 / np.maximum(counts, 1))[rows.numpy()].astype(np.float32))
        some = torch.from_numpy((counts > 0).astype(np.float32))
        return ((outputs.logsumexp(1) * some).sum() - (right * weights).sum()) / len(counts)

    def top(self, X, k):
        with self.torch.inference_mode():
            return np.vstack([self.forward(X[i:i + self.batch]).topk(k).indices.numpy()
                              for i in range(0, X.shape[0], self.batch)])

    def size(self):
        return 4 * sum(weights.numel() for weights in self.weights)


class Scored:
    """A scikit-learn estimator that answers with a dense matrix of scores."""

    def fit(self, X, Y, n_labels):
        if X.shape[0] * n_labels > MOST:
            raise Infeasible(f"{X.shape[0]} rows x {n_labels} labels are more than {MOST:g}")
        from threadpoolctl import threadpool_limits

        Y = indicator(Y, n_labels)
        with threadpool_limits(self.threads), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.train(sparse.csr_matrix(X), sparse.csr_matrix(Y).astype(np.int64))

    def top(self, X, k):
        scores = self.scores(sparse.csr_matrix(X))
        return np.argsort(-scores, axis=1, kind="stable")[:, :k]

    def size(self):
        return len(pickle.dumps(self.clf))


class MLP(Scored):
    """scikit-learn's MLPClassifier: 128 hidden, its defaults otherwise."""

    def __init__(self, threads, seed, epochs=20, hidden=128):
        from sklearn.neural_network import MLPClassifier

        self.threads = threads
        self.clf = MLPClassifier((hidden,), max_iter=epochs, random_state=seed)

    def train(self, X, Y):
        self.clf.fit(X, Y.toarray())

    def scores(self, X):
        return self.clf.predict_proba(X)


class OneVsRest(Scored):
    """scikit-learn's one-vs-rest logistic regression, by stochastic gradient descent."""

    def __init__(self, threads, seed, epochs=20):
        from sklearn.linear_model import SGDClassifier
        from sklearn.multiclass import OneVsRestClassifier

        self.threads = threads
        self.clf = OneVsRestClassifier(
            SGDClassifier(loss="log_loss", max_iter=epochs, random_state=seed), n_jobs=threads
        )

    def train(self, X, Y):
        from joblib import parallel_backend

        with parallel_backend("threading"):  # memory is then counted in this process
            self.clf.fit(X, Y)

    def scores(self, X):
        return self.clf.predict_proba(X)


class Pecos:
    """PECOS XR-Linear with its defaults."""

    def __init__(self, threads, seed):
        from pecos.xmc import Indexer, LabelEmbeddingFactory
        from pecos.xmc.xlinear import XLinearModel

        self.parts, self.threads = (Indexer, LabelEmbeddingFactory, XLinearModel), threads

    def fit(self, X, Y, n_labels):
        indexer, embedding, model = self.parts
        X, Y = sparse.csr_matrix(X), sparse.csr_matrix(indicator(Y, n_labels), dtype=np.float32)
        self.model = model.train(X, Y, C=indexer.gen(embedding.create(Y, X)),
                                 threads=self.threads)

    def top(self, X, k):
        found = sparse.csr_matrix(self.model.predict(sparse.csr_matrix(X), only_topk=k))
        return np.array([
            np.append(row.indices[np.argsort(-row.data)], [-1] * k)[:k] for row in found
        ])

    def size(self):
        with tempfile.TemporaryDirectory() as folder:
            self.model.save(folder)
            return folder_size(folder)


PEERS = {
    "ours": (Ours, {}),
    "ours_hashed": (Ours, {"output_active": 100}),
    "omikuji": (Omikuji, {}),
    "napkinxc": (NapkinXC, {}),
    "pecos": (Pecos, {}),
    "pytorch_softmax": (PyTorch, {"loss": "softmax"}),
    "pytorch_sigmoid": (PyTorch, {"loss": "sigmoid"}),
    "mlp_classifier": (MLP, {}),
    "one_vs_rest": (OneVsRest, {}),
}
