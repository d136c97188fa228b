"""A wide network, 5 % of it computed, against all of it: a table, and demo.png.

Trains on MNIST where ``SKLEARN_LSH_DATA`` names a folder with mnist.npz, otherwise on
scikit-learn's digits, enlarged and deformed. Takes a few minutes; ``--epochs``,
``--n-train`` make it shorter.
"""

import argparse
import time

import matplotlib

matplotlib.use("Agg")  # no display needed

import matplotlib.pyplot as plt
import numpy as np
from _data import load_images

from sklearn_lsh import LSHMLPClassifier
from sklearn_lsh.inspection import active_set_recall

# Rows that recall is measured on.
RECALL_ROWS = 1000
# Training stops early where a machine is too slow for all epochs.
BUDGET_SECONDS = 100


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--n-train", type=int, default=20_000)
    parser.add_argument("--n-test", type=int, default=None)
    parser.add_argument("--plot", default="demo.png")
    args = parser.parse_args()

    name, X_train, y_train, X_test, y_test = load_images(args.n_train, args.n_test)
    print(f"{name}: {len(X_train)} training and {len(X_test)} test images, network 784-1000-10")
    networks = {
        selection: LSHMLPClassifier(
            (1000,), selection=selection, active_fraction=0.05, random_state=0
        )
        for selection in ("lsh", "all")
    }
    accuracy = {selection: [] for selection in networks}
    started = time.perf_counter()
    for epoch in range(1, args.epochs + 1):
        for selection, network in networks.items():
            network.partial_fit(X_train, y_train, classes=np.arange(10))
            accuracy[selection].append(network.score(X_test, y_test))
        print(
            f"epoch {epoch}: test accuracy "
            + ", ".join(f"{selection} {a[-1]:.4f}" for selection, a in accuracy.items())
        )
        if time.perf_counter() - started > BUDGET_SECONDS:
            print(f"{BUDGET_SECONDS} seconds are over")
            break
    print_table(networks, accuracy, X_test[:RECALL_ROWS])
    plot(networks, accuracy, name, args.plot)
    print(f"plot: {args.plot}")


def print_table(networks, accuracy, X):
    """One row a network."""
    print(f"\n{'selection':<10}{'accuracy':>10}{'active':>9}{'multiplications':>17}"
          f"{'recall':>8}{'s/epoch':>9}")
    for selection, network in networks.items():
        history = network.history_
        print(
            f"{selection:<10}{accuracy[selection][-1]:>10.4f}"
            f"{history['active_fraction'].mean():>9.1%}"
            f"{history['multiplications'].mean():>17.2%}"
            f"{active_set_recall(network, X)[0]:>8.3f}{np.median(history['seconds']):>9.2f}"
        )
    print("multiplications: performed in training, over those of the dense network\n")


def plot(networks, accuracy, name, path):
    """Test error by epoch, and by multiplications spent in training."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    labels = {"lsh": "lsh, 5 % of the nodes", "all": "all nodes"}
    colours = {"lsh": "tab:orange", "all": "tab:blue"}
    for selection, network in networks.items():
        error = 100 * (1 - np.array(accuracy[selection]))
        epochs = np.arange(1, len(error) + 1)
        style = {"color": colours[selection], "marker": "o", "markersize": 3}
        left.plot(epochs, error, label=labels[selection], **style)
        right.plot(np.cumsum(network.history_["multiplications"]), error, **style)
    left.set(xlabel="epochs", ylabel="test error [%]", yscale="log")
    right.set(xlabel="multiplications [epochs of the dense network]", xscale="log")
    right.xaxis.set_major_formatter("{x:g}")
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter("{x:g}")
    for axes in (left, right):
        axes.grid(alpha=0.3, which="both")
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False)
    figure.suptitle(f"784-1000-10 on {name}")
    figure.tight_layout()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
