"""The learning loop: epochs, shuffling, schedules, stopping, history. Knows no scikit-learn.

Python runs only between passes; a pass is cut into calls short enough that Ctrl-C is heard
at once. Where the cuts fall has no influence on the result.
"""

import time
import warnings
from dataclasses import dataclass
from math import ceil

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ._pace import Crew, Pace
from ._rehash import Rehasher

# invscaling's exponent, MLPClassifier's default.
POWER_T = 0.5
# The adaptive schedule divides by this, and stops below the other (MLPClassifier's values).
ADAPTIVE_DIVISOR = 5.0
SMALLEST_ADAPTIVE_RATE = 1e-6
# An epoch counts in the mean of weights about as its number to this power (Shamir and Zhang 2013,
# section 4, eta): the first ones hardly, whenever training ends.
AVERAGING_POWER = 3


@dataclass(frozen=True)
class Options:
    """How to train: plain numbers, nothing left to resolve."""

    learning_rate_init: float
    schedule: str
    momentum: float
    alpha: float
    max_iter: int
    tol: float
    n_iter_no_change: int
    shuffle: bool
    average: bool
    batch_size: int
    n_threads: int
    lock_free: bool
    verbose: bool
    # Train as so many lock-free workers would; 0 is no simulation. For experiments: it runs in
    # one thread.
    n_simulated: int = 0


class Progress:
    """What the learning loop remembers from epoch to epoch; ``state`` is builtins only.

    What it has learned about calls and threads is of this machine, and not in the state.
    """

    def __init__(self, state=None):
        self._habits = None
        self.state = state or {
            "n_reductions": 0,  # of the adaptive rate
            "no_improvement": 0,
            "best_loss": np.inf,
            "best_validation_score": -np.inf,
            "history": [],
        }

    def __getitem__(self, key):
        return self.state[key]

    def __setitem__(self, key, value):
        self.state[key] = value

    def habits(self, multiple, *threads):
        """The pace and the crew of calls of a multiple of so many examples, as left last."""
        key = multiple, threads
        if self._habits is None or self._habits[0] != key:
            self._habits = key, Pace(multiple), Crew(*threads)
        return self._habits[1:]

    def history(self):
        """One NumPy array per quantity, one row per epoch."""
        records = self.state["history"]
        return {key: np.array([r[key] for r in records]) for key in records[0]} if records else {}


class Trainer:
    """Trains a network on one data set, in one thread or many.

    Parameters
    ----------
    network : Network
    rows : Rows
    targets : Targets
    examples : ndarray of int64
        The rows to train on.
    options : Options
    progress : Progress
    validate : callable or None
        Returns the validation score of the network as it is; enables early stopping.
    """

    def __init__(self, network, rows, targets, examples, options, progress, validate=None):
        self.network = network
        self.rows = rows
        self.targets = targets
        self.examples = examples
        self.options = options
        self.progress = progress
        self.validate = validate
        # What training ends with, unless with the last: the best, or the mean.
        self.kept_weights = None
        network.make_writable()
        n_threads, n_stages = options.n_threads, 1
        # Examples that each has in hand; a simulated worker has a batch to itself.
        share = ceil(options.batch_size / n_threads)
        in_hand = [share] * n_threads
        if options.n_simulated:
            in_hand = [options.batch_size] * options.n_simulated
        elif not options.lock_free:
            n_stages = network.engine.n_stages(n_threads)
            if n_stages > 1:  # where they divide layers, the first two keep a batch each
                in_hand[:2] = [options.batch_size] * 2
        # Lock-free each thread takes batches of its own, no more together than a batch without:
        # updates must not come from weights that are much older.
        self.batch = share if options.lock_free else options.batch_size
        network.share(options.n_simulated > 1 or options.lock_free and n_threads > 1)
        self.workspaces = [
            network.engine.workspaces(1, max(1, min(n, len(examples))), targets.most_labels)[0]
            for n in in_hand
        ]
        self.rehasher = Rehasher(network, self.workspaces[:n_threads])
        multiple = self.batch * (n_threads if options.lock_free else 1)
        self.pace, self.crew = progress.habits(multiple, n_threads, n_stages)

    def run(self):
        """Train until a stopping criterion holds or ``max_iter`` epochs are done."""
        for n_before in range(self.options.max_iter):
            self.epoch()
            if self.options.average:
                self._average(n_before)
            if self.should_stop():
                break
        else:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.options.max_iter}) "
                "reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=4,
            )
        if self.kept_weights is not None:
            try:
                self._put_back()
            except KeyboardInterrupt:
                self._put_back()  # whole: layers of both, and tables of neither, would be left
                raise

    def _put_back(self):
        """Replace the weights by those that were kept."""
        self.network.restore(self.kept_weights)
        self.rehasher.rebuild()

    def epoch(self):
        """One pass over the examples; the tables match the weights when it returns."""
        started = time.perf_counter()
        network = self.network
        order = self.examples
        if self.options.shuffle:
            seed = [network.state["seed"], 2, network.state["n_epochs"]]
            order = np.random.default_rng(seed).permutation(order)
        for arrays in network.state["layers"]:
            arrays["used"][:] = 0
        network.set_rates(self._learning_rate(), self.options.momentum, self.options.alpha)
        try:
            self._pass(order)
        finally:
            network.fold()
            self.rehasher.settle()
        self.rehasher.look_ahead(self.rows, order[-self.rehasher.sample_size :])
        self._record(time.perf_counter() - started)

    def _average(self, n_before):
        """Take the weights after an epoch into the mean of those after all epochs of this run."""
        if n_before == 0:
            self.kept_weights = self.network.snapshot()
        else:
            share = (AVERAGING_POWER + 1) / (AVERAGING_POWER + 1 + n_before)
            self.network.blend_into(self.kept_weights, share)

    def _pass(self, order):
        network, n = self.network, len(order)
        seed = int(
            np.random.SeedSequence([network.state["seed"], 3, network.state["n_epochs"]])
            .generate_state(1, np.uint64)[0]
        )

        def train(start, stop):
            work = self.rows, self.targets, order, start, stop, seed, self.workspaces
            if self.options.n_simulated:
                network.engine.train_delayed(*work, self.batch)
            else:
                way = self.crew.way
                divided = "layers" if way.by_layer else "examples"
                if self.options.lock_free:
                    divided = "batches"
                network.engine.train(*work, self.batch, divided, way.n_threads)

        done = 0
        while done < n:
            if self.rehasher.due <= 0:
                # Sampled from the examples to come; near the end, from the last ones.
                start = max(0, min(done, n - self.rehasher.sample_size))
                self.rehasher.run(self.rows, order[start : start + self.rehasher.sample_size])
            # Whole batches: where tables are looked after has no influence on what is one.
            stop = int(min(n, done + np.ceil(self.rehasher.due / self.batch) * self.batch))
            start = done
            if self.options.n_simulated:
                # Uncut: a call does not end before all workers have applied their updates.
                train(start, stop)
                done = stop
            else:
                done, _ = self.pace.call(train, start, stop, self.crew.tries)
                self.crew.note(done - start, self.pace.seconds)
            network.state["n_seen"] += done - start

    def _learning_rate(self):
        rate = self.options.learning_rate_init
        if self.options.schedule == "invscaling":
            return rate / (self.network.state["n_seen"] + 1) ** POWER_T
        if self.options.schedule == "adaptive":
            return rate / ADAPTIVE_DIVISOR ** self.progress["n_reductions"]
        return rate

    def _record(self, seconds):
        network, total = self.network, self.network.engine.totals(self.workspaces)
        try:
            self._check_refused(total["n_refused"], total["n_examples"])
        except ValueError:
            network.state["n_seen"] -= len(self.examples)
            raise
        examples = max(total["n_examples"], 1)
        self.rehasher.note_cost(total["multiplications"], total["n_examples"])
        spent = total["multiplications"] + self.rehasher.multiplications
        self.rehasher.multiplications = 0
        sizes = np.array(network.settings.hidden_layer_sizes)
        hidden = network.state["layers"][:-1]
        record = {
            "loss": total["loss"] / total["weight"] if total["weight"] else 0.0,
            "seconds": seconds,
            "stage_seconds": total["seconds"],
            "active_fraction": total["n_active"] / examples / sizes,
            "multiplications": spent / examples / network.settings.dense_multiplications,
            "dead_nodes": np.array([np.count_nonzero(a["used"] == 0) for a in hidden]),
            "validation_score": np.nan if self.validate is None else self.validate(),
        }
        self.progress["history"].append(record)
        network.state["n_epochs"] += 1
        if self.options.verbose:
            score = record["validation_score"]
            print(
                f"Iteration {len(self.progress['history'])}, loss = {record['loss']:.8f}"
                + ("" if np.isnan(score) else f", validation score = {score:.6f}")
            )

    def _check_refused(self, n_refused, n_examples):
        if not n_refused:
            return
        message = (
            f"{n_refused} of {n_examples} updates would have made weights overflow and were "
            "not applied. Scale the features, or lower learning_rate_init or the weights of the "
            "examples."
        )
        if 2 * n_refused > n_examples:
            raise ValueError(f"Training diverged: {message}")
        warnings.warn(message, ConvergenceWarning, stacklevel=6)

    def should_stop(self):
        """Update the stopping criterion; MLPClassifier's rules."""
        progress, options = self.progress, self.options
        record = progress["history"][-1]
        if self.validate is not None:
            score = record["validation_score"]
            improved = score >= progress["best_validation_score"] + options.tol
            if score > progress["best_validation_score"]:
                progress["best_validation_score"] = float(score)
                self.kept_weights = self.network.snapshot()
        else:
            improved = record["loss"] <= progress["best_loss"] - options.tol
            progress["best_loss"] = min(progress["best_loss"], float(record["loss"]))
        progress["no_improvement"] = 0 if improved else progress["no_improvement"] + 1
        if progress["no_improvement"] <= options.n_iter_no_change:
            return False
        if options.schedule == "adaptive" and self._learning_rate() > SMALLEST_ADAPTIVE_RATE:
            progress["n_reductions"] += 1
            progress["no_improvement"] = 0
            return False
        if options.verbose:
            print(f"No improvement of more than tol={options.tol} for "
                  f"{options.n_iter_no_change} consecutive epochs. Stopping.")
        return True
