"""The estimator: parameters, validation, fitted attributes. No maths."""

from contextlib import contextmanager
from dataclasses import fields
from numbers import Integral, Real

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, RealNotInt, StrOptions
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from ._data import CENTRED_DENSITY, DENSE, LARGEST_MEAN, as_rows, profile
from ._labels import Labels
from ._memory import network_bytes, require
from ._network import Network
from ._prediction import Predictor, best, decisions, make_workspaces, outputs
from ._resolve import resolve_learning_rate, resolve_settings
from ._state import MOST_BITS, MOST_PROBES, MOST_TABLES
from ._threads import one_blas_thread, resolve_threads
from ._training import Options, Progress, Trainer
from ._whitening import centring, choose_whitening, worth_asking
from .core.hashing import HASH_FAMILIES
from .core.layer import ACTIVATIONS
from .core.losses import LOSSES
from .core.lsh import RANKINGS
from .core.optimizers import SOLVERS
from .core.selection import SELECTIONS


class LSHMLPClassifier(ClassifierMixin, BaseEstimator):
    """Multi-layer perceptron that computes only the nodes that hashing finds worth it.

    Each hidden layer keeps its nodes' weight vectors indexed by locality-sensitive hashing.
    The layer's input is the query; the few nodes with the largest activations are the active
    set, and forward pass, backward pass and update touch no others [1]_.

    Parameters
    ----------
    hidden_layer_sizes : array-like of int, default=(1000,)
        Nodes of each hidden layer.

    activation : {"relu", "tanh", "logistic", "identity"}, default="relu"
        Of the hidden layers. Nodes that are not active output 0. Nodes are ranked by their
        pre-activation; for "tanh" and "identity" by its magnitude.

    selection : {"lsh", "all", "dropout", "adaptive_dropout", "winner_take_all"}, \
default="lsh"
        How active nodes are chosen in training: by hashing; all of them (the standard
        network); a random subset [2]_; each with probability sigmoid(activation + offset)
        [3]_, the offset solved so that ``active_fraction`` is kept on average; the exact
        top nodes [4]_.

    active_fraction : "auto", float, int or sequence, default="auto"
        Active share of each hidden layer, as a float in (0, 1] or an int number of nodes; a
        sequence has one entry for each hidden layer. "auto" is 5 %, but at least 50 nodes.
        Of a layer with a soft threshold it is a mean over examples, each of which has between two
        thirds and three halves of it (and at least two nodes); where fewer have positive
        activations, fewer are active. Without effect where ``selection="all"``.

    active_threshold : {"soft", "hard"}, default="soft"
        Which relu nodes are active where those with the largest activations are
        ("winner_take_all"; "lsh" with the ranking "cascade"), and what they output. Soft: those
        whose activations exceed a threshold that the layer learns, and what they have more than
        it. So a node's output grows from 0 as it becomes active, one that hashing misses near the
        threshold is missed little, and examples may differ in the number of their active nodes.
        Hard: as many for each example, and their activations, as in [1]_ and [4]_. The
        last of several hidden layers is always hard.

    output_active : int, float or None, default=None
        For many classes: how many of them, or which share in (0, 1], the output layer computes
        for an example. They are found by hashing, as the nodes of hidden layers are, and in
        training the true labels are always among them. None computes all classes.

    inference : {"auto", "exact", "all"}, default="auto"
        Active nodes in prediction: as in training (for the dropout kinds all nodes, scaled
        as their papers do); the exact top nodes; all nodes. Of a hashed output layer, "auto"
        finds the best classes and gives the others probability 0; "exact" and "all" compute
        every class. May be changed after ``fit``.

    hash_family : {"subspace", "simple_lsh"}, default="subspace"
        What is hashed: centred inputs in the subspace of their principal directions, or
        the raw norm-augmented vectors of the paper.

    hash_search : {"auto", "scan", "cells", "tables"}, default="auto"
        Where candidates come from: a pass over every node's sketch (or codes); the most
        promising of the cells that k-means divides the sketches into; buckets of hash
        tables. "auto" is "tables" for the rankings that need them, and "scan" for "cascade"
        with "simple_lsh". For "cascade" with "subspace" it is what costs least, measured on
        some rows whenever hash functions are renewed: a scan, cells in layers of 2,048 nodes
        and more, or all exact activations. With the default solver these are taken from the
        start in narrower layers above one with at most 64 active nodes. See
        ``hash_search_``.

    hash_ranking : {"cascade", "collisions", "union"}, default="cascade"
        How candidates become the active set: ranked by sketch, then by exact activation;
        by the number of buckets they share with the input (the paper's released code);
        in random order (the paper's text).

    hash_bits : int or "auto", default="auto"
        Bits of a code, K of the paper. "auto" makes buckets of about four nodes.

    hash_tables : int, default=32
        Number of tables, L of the paper.

    hash_probes : int or "auto", default="auto"
        Buckets looked up in each table, the input's own included. "auto" measures how many
        it takes to meet 95 % of the exact top nodes; where nodes are not ranked by sketch it
        is ten, as in the paper.

    solver : {"rowwise_adagrad", "adagrad", "sgd"}, default="rowwise_adagrad"
        Per-example updates: Adagrad with one accumulator a neuron and no momentum (above wide
        sparse input one a feature); the paper's per-weight Adagrad with momentum, intercepts of
        layers with few active nodes ten times as fast; gradient descent with momentum. The first
        layer is trained as if X had been centred where a quarter of it or more is not zero, with
        the default solver from 5 % on.

    n_whitened : int or "auto", default="auto"
        Leading principal directions of the input whose variance the first layer sees reduced to
        that of the next one: its weights start, and are updated, as if they were. Needs input that
        is centred (see ``solver``); learned, as the mean input is, from up to 2,048 rows of those
        that training starts with. "auto" chooses 0 or 32 by what a wide network would gain, see
        the user guide: often 32 for photographs, 0 for tables of features; 0 where it cannot be,
        or too little is known. A later change has no effect on a network that is trained further.
        See ``n_whitened_``.

    alpha : float, default=0.0
        L2 penalty as decoupled weight decay: before a node's update its weights (all of
        them, not the intercept) shrink by ``1 - learning_rate * alpha``, applied lazily, which
        has to leave something: alpha below 2 for a rate of 0.5. Above wide sparse input it is the
        weights of a feature that shrink before its update.

    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Schedule, with the meaning it has in :class:`~sklearn.neural_network.MLPClassifier`:
        "invscaling" divides by ``sqrt(t_ + 1)``, "adaptive" by 5 whenever the loss stops
        improving.

    learning_rate_init : "auto" or float, default="auto"
        Initial step size. "auto" is a good value of the chosen solver.

    momentum : float, default=0.5
        For "adagrad" and "sgd", in [0, 1). "rowwise_adagrad" has none.

    multilabel_loss : {"sigmoid", "softmax", "decoupled_softmax"}, default="sigmoid"
        Loss for multi-label targets: a probability per label; a softmax against the uniform
        distribution over the true labels (for ranking); or a softmax for each true label against
        the labels that are not (the best for ranking [5]_).

    batch_size : int, default=32
        Examples whose gradients are computed at the same weights. Each still makes an update
        of its own, one after the other.

    max_iter : int, default=200
        Most epochs of ``fit``.

    shuffle : bool, default=True
        Whether to shuffle the examples in each epoch.

    tol : float, default=1e-4
        ``fit`` stops when the loss (or validation score) has not improved by this for
        ``n_iter_no_change`` epochs.

    n_iter_no_change : int, default=10
        See ``tol``.

    average : bool, default=False
        Whether ``fit`` ends with the mean of the weights after its epochs, the later ones counting
        more [6]_: most of the noise of the steps averages out, of hashing's more than of others'.
        It takes another copy of the weights. Not with ``early_stopping``, nor in ``partial_fit``.

    early_stopping : bool, default=False
        Set aside ``validation_fraction`` of the training data, stop when the score on it no
        longer improves, and keep the best weights. The part is stratified by class, unless there
        are too many classes for that.

    validation_fraction : float, default=0.1
        In (0, 1). Used only with ``early_stopping``.

    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, multiplied with ``sample_weight``. An example with several labels
        weighs their mean.

    warm_start : bool, default=False
        Whether ``fit`` goes on from the previous solution.

    n_jobs : int or None, default=None
        Threads; None is one, -1 all processors. No more are used than threadpoolctl, joblib (in
        its workers) or the variable OMP_NUM_THREADS allow, and training uses fewer while that is
        faster. They divide examples or layers, whichever takes less time. Their number does not
        change the result, unless they are ``lock_free``. A build without OpenMP uses one thread,
        and so do children that a process forks after it has used several: OpenMP's threads do
        not survive a fork.

    lock_free : bool, default=False
        Whether threads train without waiting for each other, each on its part of ``batch_size``,
        and update the weights without locks, as in the paper. The order of updates, so the result,
        then varies from run to run, and with many threads updates are lost: see the user guide.

    random_state : int, RandomState instance or None, default=None
        Decides initial weights, hash functions, shuffling and dropout.

    verbose : bool, default=False
        Whether to print the loss of each epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels; for multi-label targets the column numbers.
    coefs_ : list of ndarray of shape (n_in, n_out), float32
        Weights of each layer, views of the network's own. Training sorts the nodes of hashed
        layers by use, so that a node may not stay in its place.
    intercepts_ : list of ndarray of shape (n_out,), float32
        Intercepts of each layer.
    history_ : dict of ndarray
        One row per epoch: ``loss``, ``seconds``, ``active_fraction`` and ``dead_nodes``
        (one column per hidden layer), ``multiplications`` (those performed over those of the
        dense network, see the user guide), ``validation_score`` (NaN without early stopping),
        ``stage_seconds`` (hidden layers and the output layer, 4), see the user guide.
    hash_search_ : list of str
        For each hidden layer (with ``selection="lsh"``), and then for a hashed output layer:
        "scan", "cells" or "tables"; "exact" where hashing would save nothing.
    n_whitened_ : int
        Principal directions of the input that are whitened.
    loss_ : float
        Mean training loss of the last epoch, without the L2 term.
    loss_curve_ : list of float
        ``loss_`` of each epoch.
    best_loss_ : float or None
        Smallest loss; None with early stopping.
    validation_scores_ : list of float or None
        Accuracy on the validation part after each epoch, with early stopping.
    best_validation_score_ : float or None
        The highest of them.
    n_iter_ : int
        Epochs done.
    t_ : int
        Examples trained.
    n_layers_, n_outputs_ : int
        Layers with input and output; output nodes.
    out_activation_ : {"logistic", "softmax"}
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only where X has string column names.

    References
    ----------
    .. [1] R. Spring and A. Shrivastava, "Scalable and Sustainable Deep Learning via
       Randomized Hashing", KDD 2017, arXiv:1602.08194.
    .. [2] N. Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from
       Overfitting", JMLR 2014.
    .. [3] J. Ba and B. Frey, "Adaptive Dropout for Training Deep Neural Networks", NIPS 2013.
    .. [4] A. Makhzani and B. Frey, "Winner-Take-All Autoencoders", NIPS 2015.
    .. [5] N. Gupta et al., "Dual-Encoders for Extreme Multi-Label Classification", ICLR 2024
       (arXiv 2310.10636): the decoupled softmax.
    .. [6] O. Shamir and T. Zhang, "Stochastic Gradient Descent for Non-smooth Optimization:
       Convergence Results and Optimal Averaging Schemes", ICML 2013, section 4.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn_lsh import LSHMLPClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
    >>> clf = LSHMLPClassifier((1000,), max_iter=20, tol=0, random_state=0)
    >>> import warnings; warnings.simplefilter("ignore")  # 20 epochs are few
    >>> clf.fit(X_train, y_train).score(X_test, y_test) > 0.95
    True
    >>> bool(abs(clf.history_["active_fraction"][-1, 0] - 0.05) < 0.01)
    True
    """

    _parameter_constraints: dict = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "selection": [StrOptions(set(SELECTIONS))],
        "active_fraction": [
            StrOptions({"auto"}),
            Interval(RealNotInt, 0, 1, closed="right"),
            Interval(Integral, 1, None, closed="left"),
            "array-like",
        ],
        "active_threshold": [StrOptions({"soft", "hard"})],
        "output_active": [
            None,
            Interval(RealNotInt, 0, 1, closed="right"),
            Interval(Integral, 1, None, closed="left"),
        ],
        "inference": [StrOptions({"auto", "exact", "all"})],
        "hash_family": [StrOptions(set(HASH_FAMILIES))],
        "hash_search": [StrOptions({"auto", "scan", "cells", "tables"})],
        "hash_ranking": [StrOptions(set(RANKINGS))],
        "hash_bits": [StrOptions({"auto"}), Interval(Integral, 1, MOST_BITS, closed="both")],
        "hash_tables": [Interval(Integral, 1, MOST_TABLES, closed="both")],
        "hash_probes": [
            StrOptions({"auto"}), Interval(Integral, 1, MOST_PROBES, closed="both")
        ],
        "solver": [StrOptions(set(SOLVERS))],
        "n_whitened": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "multilabel_loss": [StrOptions(set(LOSSES))],
        "batch_size": [Interval(Integral, 1, 10000, closed="both")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "average": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "warm_start": ["boolean"],
        "n_jobs": [Integral, None],
        "lock_free": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        hidden_layer_sizes=(1000,),
        activation="relu",
        *,
        selection="lsh",
        active_fraction="auto",
        active_threshold="soft",
        output_active=None,
        inference="auto",
        hash_family="subspace",
        hash_search="auto",
        hash_ranking="cascade",
        hash_bits="auto",
        hash_tables=32,
        hash_probes="auto",
        solver="rowwise_adagrad",
        n_whitened="auto",
        alpha=0.0,
        learning_rate="constant",
        learning_rate_init="auto",
        momentum=0.5,
        multilabel_loss="sigmoid",
        batch_size=32,
        max_iter=200,
        shuffle=True,
        tol=1e-4,
        n_iter_no_change=10,
        average=False,
        early_stopping=False,
        validation_fraction=0.1,
        class_weight=None,
        warm_start=False,
        n_jobs=None,
        lock_free=False,
        random_state=None,
        verbose=False,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.selection = selection
        self.active_fraction = active_fraction
        self.active_threshold = active_threshold
        self.output_active = output_active
        self.inference = inference
        self.hash_family = hash_family
        self.hash_search = hash_search
        self.hash_ranking = hash_ranking
        self.hash_bits = hash_bits
        self.hash_tables = hash_tables
        self.hash_probes = hash_probes
        self.solver = solver
        self.n_whitened = n_whitened
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.momentum = momentum
        self.multilabel_loss = multilabel_loss
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.average = average
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.lock_free = lock_free
        self.random_state = random_state
        self.verbose = verbose

    # ---- training ----------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Train on X and y.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Dense of any number type, or CSR, CSC, COO. Computed with in float32.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Class labels, or a label indicator of zeros and ones.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the examples, not negative. An example of weight 0 is as if it were not
            there, but that its class is one.

        Returns
        -------
        self : LSHMLPClassifier

        Raises
        ------
        ValueError
            If the input is not valid, or if training diverged (most updates would have
            made weights overflow). The estimator is then as it was before, but where
            ``warm_start`` went on from it: updates that could be applied stay.
        """
        if self.average and self.early_stopping:
            raise ValueError(
                "early_stopping=True ends with the best weights, average=True with their mean: "
                "set one of them to False"
            )
        with self._all_or_nothing():
            return self._fit(X, y, sample_weight)

    def _fit(self, X, y, sample_weight):
        going_on = self.warm_start and hasattr(self, "_network")
        X, y = self._check_training_data(X, y, reset=not going_on)
        labels = Labels.infer(y)
        if going_on and not (
            labels.multilabel == self._labels.multilabel
            and np.array_equal(labels.classes, self._labels.classes)
        ):
            raise ValueError(
                "warm_start can only go on with the same classes as in the previous call to "
                f"fit. Previously: {self._labels.classes}, now: {labels.classes}"
            )
        X, y, targets = self._targets(X, y, sample_weight, labels)
        if going_on:
            network = self._old_network()
        else:
            network = self._new_network(X, y, targets, labels)
        self._train(X, y, targets, labels, network, Progress(), one_epoch=False)
        return self

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train for one epoch over X and y, going on from the present state.

        n calls with the same data do what ``fit`` does in n epochs.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
        classes : array-like of shape (n_classes,), default=None
            All classes that will ever occur. Needed in the first call, unless y is a label
            indicator.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self : LSHMLPClassifier

        Raises
        ------
        ValueError
            If the input is not valid; the estimator is then as it was before. Or if training
            diverged (most updates would have made weights overflow); the updates that could
            be applied stay.
        """
        # _fit_context does it at the first call only; set_params may have come in between.
        if not get_config()["skip_parameter_validation"]:
            self._validate_params()
        for name in ("average", "early_stopping"):
            if getattr(self, name):
                raise ValueError(
                    f"partial_fit does not support {name}=True: set it to False, or call fit"
                )
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' is not supported by partial_fit, which never sees "
                "all of y. Pass the weights as a dict, see compute_class_weight."
            )
        with self._all_or_nothing():
            return self._partial_fit(X, y, classes, sample_weight)

    def _partial_fit(self, X, y, classes, sample_weight):
        first = not hasattr(self, "_network")
        X, y = self._check_training_data(X, y, reset=first)
        if first:
            labels = self._announced(y, classes)
            X, y, targets = self._targets(X, y, sample_weight, labels)
            network, progress = self._new_network(X, y, targets, labels), Progress()
        else:
            labels, network = self._labels, self._old_network()
            progress = self._progress
            if classes is not None and not (
                np.array_equal(labels.classes, classes)
                or np.array_equal(labels.classes, np.unique(classes))
            ):
                raise ValueError(
                    f"classes={classes!r} is not the same as on the last call to partial_fit, "
                    f"was: {labels.classes!r}"
                )
            X, y, targets = self._targets(X, y, sample_weight, labels)
        self._train(X, y, targets, labels, network, progress, one_epoch=True)
        return self

    def _announced(self, y, classes):
        multilabel = getattr(y, "ndim", 1) == 2 and y.shape[1] > 1
        if classes is None and not multilabel:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return Labels.infer(y, classes)

    def _check_training_data(self, X, y, reset):
        X, y = validate_data(
            self, X, y, accept_sparse="csr", dtype=[np.float32, np.float64], order="C",
            multi_output=True, reset=reset,
        )
        if not issparse(y) and y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _targets(self, X, y, sample_weight, labels):
        """X and y without the examples of weight 0, as if these were not there; and targets.

        Where none has a weight all stay: training on them has no effect.
        """
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, dtype=np.float64, ensure_non_negative=True
            )
            with np.errstate(over="ignore"):  # told by labels
                counting = sample_weight.astype(np.float32) != 0
            if counting.any() and not counting.all():
                X, y, sample_weight = X[counting], y[counting], sample_weight[counting]
        return X, y, labels.targets(y, sample_weight, self.class_weight)

    @contextmanager
    def _all_or_nothing(self):
        """An error leaves every attribute as it was, and so does Ctrl-C before training.

        Once training, Ctrl-C keeps what has been learned: ``_train`` marks the exception.
        """
        before = vars(self).copy()
        try:
            yield
        except BaseException as error:
            if not getattr(error, "kept", False):
                vars(self).clear()
                vars(self).update(before)
            raise

    def _settings(self, n_features, labels, entries):
        return resolve_settings(
            self.get_params(deep=False), n_features, labels.n_outputs,
            labels.loss(self.multilabel_loss), entries,
        )

    def _old_network(self):
        """The fitted network, if the parameters still describe it."""
        old = self._network.settings
        # How weights lie was decided by the first data.
        entries = 0 if old.by_input[0] else np.inf
        now = self._settings(self.n_features_in_, self._labels, entries)
        if old != now:
            changed = [f.name for f in fields(old) if getattr(old, f.name) != getattr(now, f.name)]
            raise ValueError(
                f"cannot go on training: {', '.join(changed)} differ from the fitted network's. "
                "Set the parameters back, or call fit with warm_start=False."
            )
        return self._network

    def _new_network(self, X, y, targets, labels):
        seen = profile(as_rows(X))
        settings = self._settings(X.shape[1], labels, seen.entries)
        # A better snapshot is taken before the one that it replaces is let go.
        n_snapshots = 2 if self.early_stopping else int(self.average)
        batch_size = min(self.batch_size, X.shape[0])
        require(
            network_bytes(settings, self._n_threads(), batch_size, n_snapshots),
            f"a network of {settings.n_features} features, hidden layers "
            f"{settings.hidden_layer_sizes} and {settings.n_outputs} outputs",
        )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        mean = seen.mean if SOLVERS[self.solver].centres_lazily else None
        prior = None
        if settings.has_many_outputs:
            prior = labels.prior(targets, settings.loss)
        whitening, spent = self._whitening(y, labels, settings, seen, mean, X.shape[0], seed)
        if whitening is None and seen.is_dense:
            whitening = centring(seen.mean)
        network = Network.create(settings, seed, mean, seen.squared_norm, prior, whitening)
        network.spent = spent
        return network

    def _whitening(self, y, labels, settings, seen, mean, n_rows, seed):
        """What ``Network.create`` takes, and the multiplications spent on it."""
        possible = seen.is_dense or mean is not None
        targets = None
        if self.n_whitened == "auto":
            if not (possible and worth_asking(settings, n_rows)):
                return None, 0
            targets = labels.indicator(y)[seen.chosen].toarray()
        elif not self.n_whitened:
            return None, 0
        elif not possible:
            raise ValueError(
                f"n_whitened={self.n_whitened} needs input of which at least {100 * DENSE:g} % "
                f"is not zero ({100 * CENTRED_DENSITY:g} % with solver='rowwise_adagrad'), with "
                f"means below {LARGEST_MEAN:g}; use 'auto' or 0 for other data."
            )
        rng = np.random.default_rng([seed, 2])
        # Matrices are so small that threads of BLAS take longer, most of all beside other work.
        with one_blas_thread():
            wanted = self.n_whitened if self.n_whitened == "auto" else int(self.n_whitened)
            return choose_whitening(seen.sample, targets, n_rows, wanted, rng)

    def _options(self):
        return Options(
            learning_rate_init=resolve_learning_rate(self.learning_rate_init, self.solver),
            schedule=self.learning_rate,
            momentum=float(self.momentum),
            alpha=float(self.alpha),
            max_iter=self.max_iter,
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
            shuffle=self.shuffle,
            average=bool(self.average),
            batch_size=int(self.batch_size),
            n_threads=self._n_threads(),
            lock_free=bool(self.lock_free),
            verbose=bool(self.verbose),
        )

    def _n_threads(self):
        return resolve_threads(self.n_jobs)

    def _train(self, X, y, targets, labels, network, progress, one_epoch):
        rows = as_rows(X)
        examples, validate = np.arange(X.shape[0], dtype=np.int64), None
        if self.early_stopping:
            examples, validate = self._hold_out(X, y, targets, labels, network)
        trainer = Trainer(network, rows, targets, examples, self._options(), progress, validate)
        try:
            if one_epoch:
                trainer.epoch()
                trainer.should_stop()  # moves the adaptive schedule on
            else:
                trainer.run()
            self._keep(labels, network, progress)
        except KeyboardInterrupt as interrupt:
            # What has been learned is kept, and the tables match the weights.
            self._keep(labels, network, progress)
            interrupt.kept = True
            raise

    def _hold_out(self, X, y, targets, labels, network):
        """Split off the validation part: the rows to train on, and its score as a callable.

        It is one of the examples that have a weight.
        """
        every = np.arange(X.shape[0], dtype=np.int64)
        counting = every if targets.weights is None else np.flatnonzero(targets.weights)
        if len(counting) == 0:
            raise ValueError("early_stopping needs examples whose weight is not 0 (as float32)")
        strata, fraction = y[counting], self.validation_fraction
        if not labels.can_be_stratified(strata, fraction, told=len(counting) == len(every)):
            strata = None
        _, held_out = train_test_split(
            counting, test_size=fraction, random_state=network.state["seed"], stratify=strata
        )
        rows, truth = as_rows(X[held_out]), labels.truth(y[held_out])
        weights = None if targets.weights is None else targets.weights[held_out]
        train = np.setdiff1d(every, held_out)

        def validate():
            found = decisions(network, labels, rows, self.inference, self._n_threads())
            return float(np.average(labels.matches(found, truth), weights=weights))

        return train, validate

    def _keep(self, labels, network, progress):
        """Set every fitted attribute."""
        settings, records = network.settings, progress["history"]
        self._labels, self._network, self._progress = labels, network, progress
        self.classes_ = labels.classes
        self.n_outputs_ = settings.n_outputs
        self.n_layers_ = len(settings.hidden_layer_sizes) + 2
        self.out_activation_ = "logistic" if settings.loss == "sigmoid" else "softmax"
        self.n_iter_ = len(records)
        self.t_ = network.state["n_seen"]
        whitened = network.state["layers"][0].get("whitening")
        self.n_whitened_ = 0 if whitened is None else len(whitened["directions"])
        self.loss_ = records[-1]["loss"] if records else np.nan
        self.best_loss_ = None if self.early_stopping else progress["best_loss"]
        scores = [r["validation_score"] for r in records] if self.early_stopping else None
        self.validation_scores_ = scores
        self.best_validation_score_ = max(scores) if scores else None
        searches = network.hash_search
        hidden = searches[:-1] if settings.selection == "lsh" else []
        output = searches[-1:] if settings.hashes_outputs else []
        if hidden + output:
            self.hash_search_ = hidden + output

    # ---- the fitted network ------------------------------------------------------------

    @property
    def coefs_(self):
        """Weights of each layer, (n_in, n_out)."""
        return [weights.T for weights in self._fitted("coefs_", "_network").weights]

    @property
    def intercepts_(self):
        """Intercepts of each layer, (n_out,)."""
        layers = self._fitted("intercepts_", "_network").state["layers"]
        return [layer["intercepts"] for layer in layers]

    @property
    def history_(self):
        """One array per quantity, one row per epoch."""
        return self._fitted("history_", "_progress").history()

    @property
    def loss_curve_(self):
        """Training loss of each epoch."""
        records = self._fitted("loss_curve_", "_progress")["history"]
        return [record["loss"] for record in records]

    def _fitted(self, name, private):
        if private not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} has no {name} before fit")
        return self.__dict__[private]

    def __getstate__(self):
        state = super().__getstate__().copy()
        if "_network" in state:
            labels = state.pop("_labels")
            state["_network"] = state["_network"].state
            state["_progress"] = state["_progress"].state
            state["_multilabel"], state["_sparse"] = labels.multilabel, labels.sparse
        return state

    def __setstate__(self, state):
        state = state.copy()
        if "_network" in state:
            state["_network"] = Network(state["_network"])
            state["_progress"] = Progress(state["_progress"])
            state["_labels"] = Labels(
                state["classes_"], state.pop("_multilabel"), state.pop("_sparse")
            )
            settings = state["_network"].settings
            says = state["n_features_in_"], state["_labels"].n_outputs
            if says != (settings.n_features, settings.n_outputs):
                raise ValueError(
                    f"a network of {settings.n_features} features and {settings.n_outputs} "
                    f"outputs in an estimator of {says[0]}, whose classes want {says[1]}"
                )
        super().__setstate__(state)

    # ---- prediction --------------------------------------------------------------------

    def predict(self, X):
        """Predict classes, or label indicators for a model of multi-label targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray or csr_array of shape (n_samples,) or (n_samples, n_labels)
            The class of highest ``predict_proba``. Of labels: those above 0.5; with
            ``multilabel_loss="softmax"`` those with at least half the highest probability, with
            "decoupled_softmax" a tenth; as CSR if the network was trained with CSR label
            indicators.
        """
        rows = self._rows_to_predict(X)
        return decisions(
            self._network, self._labels, rows, self.inference, self._n_threads()
        )

    def predict_topk(self, X, k=5, *, sparse_output=False):
        """Predict the k best classes of each row, and their probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        k : int, default=5
            From 1 to the number of classes or, where a hashed output layer predicts with
            ``inference="auto"``, to the number of those it computes.
        sparse_output : bool, default=False
            Whether to return one matrix instead of two arrays.

        Returns
        -------
        labels : ndarray of shape (n_samples, k)
            From ``classes_``, best first; equal ones in the order of ``classes_``.
        scores : ndarray of shape (n_samples, k), float64
            Their ``predict_proba``.
        matrix : csr_array of shape (n_samples, n_classes), float64
            With ``sparse_output`` alone: the scores in the columns of their classes.

        Raises
        ------
        ValueError
            If X is not valid, k is out of range, or an output overflows.
        MemoryError
            If the result would not fit into memory.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_lsh import LSHMLPClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> clf = LSHMLPClassifier((200,), max_iter=5, random_state=0).fit(X, y)
        >>> labels, scores = clf.predict_topk(X[:3], k=2)
        >>> labels[:, 0]
        array([0, 1, 2])
        >>> clf.predict_topk(X[:3], k=2, sparse_output=True).shape
        (3, 10)
        """
        rows = self._rows_to_predict(X)
        most = len(self.classes_)
        if self._network.settings.finds_outputs(self.inference):
            most = self._network.settings.n_active[-1]
        if not (isinstance(k, Integral) and not isinstance(k, bool) and 1 <= k <= most):
            raise ValueError(f"k must be an integer from 1 to {most}, got {k!r}")
        workspaces = self._workspaces(rows)
        if self._labels.binary:
            found = self._labels.probabilities(outputs(self._network, rows, workspaces))
            ids = np.argsort(-found, axis=1, kind="stable")[:, :k]
            p = np.take_along_axis(found, ids, axis=1)
        else:
            ids, p = best(self._network, rows, k, workspaces)
        if not sparse_output:
            return self.classes_[ids], p
        matrix = csr_array(
            (p.ravel(), ids.ravel(), np.arange(rows.n_rows + 1) * k),
            shape=(rows.n_rows, len(self.classes_)),
        )
        matrix.sort_indices()
        return matrix

    def predict_proba(self, X):
        """Probabilities of the classes or labels.

        Each row's depend on that row alone, whatever the batch around it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes), float64
            In the order of ``classes_``. Classes that a hashed output layer does not find have 0.

        Raises
        ------
        ValueError
            If X is not valid, or its values are so large that an output overflows.
        MemoryError
            If the result would not fit into memory; ``predict`` and ``predict_topk`` may.
        """
        rows = self._rows_to_predict(X)
        workspaces = self._workspaces(rows)
        return self._labels.probabilities(outputs(self._network, rows, workspaces))

    def _workspaces(self, rows):
        return make_workspaces(self._network, self.inference, self._n_threads(), rows.n_rows)

    def _rows_to_predict(self, X):
        """Validated rows."""
        check_is_fitted(self, "_network")
        X = validate_data(
            self, X, accept_sparse="csr", dtype=[np.float32, np.float64], order="C", reset=False
        )
        return as_rows(X)

    def predict_log_proba(self, X):
        """Logarithm of ``predict_proba``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes), float64
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predictor(self):
        """A ``predict_proba`` without scikit-learn's validation, to serve single rows.

        Validation takes about 0.1 ms a call, a row of a network with one hidden layer of 1000 a
        seventh of that.

        Returns
        -------
        predictor : callable
            Takes a float32 or float64 array (C-contiguous) or CSR matrix of shape
            (n_samples, n_features) and returns what ``predict_proba`` does. One thread at a time
            may call it, and none while the estimator is trained. It follows ``partial_fit``;
            after ``fit`` it has the network as it was before. It keeps the ``inference`` that
            the estimator has now.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_lsh import LSHMLPClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> clf = LSHMLPClassifier((200,), max_iter=5, random_state=0).fit(X, y)
        >>> probabilities_of = clf.predictor()
        >>> int(clf.classes_[probabilities_of(X[:1]).argmax()])
        0
        """
        check_is_fitted(self, "_network")
        return Predictor(self._network, self._labels, self.inference)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_label = True
        return tags
