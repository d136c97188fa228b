"""A pipeline whose network is tuned by ``GridSearchCV``."""

import os
import warnings

from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_lsh import LSHMLPClassifier

FAST = os.environ.get("SKLEARN_LSH_EXAMPLE_FAST") == "1"


def main():
    X, y = load_breast_cancer(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    model = make_pipeline(
        StandardScaler(),
        LSHMLPClassifier((500,), max_iter=10 if FAST else 50, random_state=0),
    )
    grid = {
        "lshmlpclassifier__active_fraction": [0.05, 0.2],
        "lshmlpclassifier__alpha": [0.0] if FAST else [0.0, 1e-3],
    }
    # Each candidate trains on one thread; n_jobs runs candidates side by side. In worker
    # processes the warnings filter is set by the environment.
    os.environ["PYTHONWARNINGS"] = "ignore"
    search = GridSearchCV(model, grid, cv=3, n_jobs=1 if FAST else 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(X_train, y_train)

    for parameters, score in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        short = {name.split("__")[1]: value for name, value in parameters.items()}
        print(f"{score:.3f}  {short}")
    print(f"test accuracy of the best: {search.score(X_test, y_test):.3f}")


if __name__ == "__main__":
    main()
