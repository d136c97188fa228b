"""Text that does not fit in memory: ``partial_fit`` on hashed words, one batch at a time.

The generated reviews stand for any stream of documents. ``HashingVectorizer`` keeps no
vocabulary, and the network reads its sparse rows as they are.
"""

import os

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer

from sklearn_lsh import LSHMLPClassifier

FAST = os.environ.get("SKLEARN_LSH_EXAMPLE_FAST") == "1"

TOPICS = ("bicycle", "kitchen", "music")
N_WORDS, WORDS_PER_TEXT = 5000, 40


def batches(n_batches, size, seed):
    """Yield lists of texts and their topics; words of a topic are likelier in its texts."""
    rng = np.random.default_rng(seed)
    words = np.array([f"word{i}" for i in range(N_WORDS)])
    taste = np.random.default_rng(0).gamma(0.3, size=(len(TOPICS), N_WORDS))
    taste = 0.3 * taste / taste.sum(axis=1, keepdims=True) + 0.7 / N_WORDS
    for _ in range(n_batches):
        topics = rng.integers(len(TOPICS), size=size)
        texts = [" ".join(rng.choice(words, WORDS_PER_TEXT, p=taste[t])) for t in topics]
        yield texts, np.array(TOPICS)[topics]


def main():
    n_features = 2**12 if FAST else 2**16
    vectorizer = HashingVectorizer(n_features=n_features, alternate_sign=False)
    clf = LSHMLPClassifier((300,), random_state=0)
    held_out, truth = next(batches(1, 200 if FAST else 1000, seed=1))
    X_held_out = vectorizer.transform(held_out)

    for number, (texts, topics) in enumerate(batches(8 if FAST else 16, 500, seed=2), 1):
        clf.partial_fit(vectorizer.transform(texts), topics, classes=TOPICS)
        if number % 4 == 0:
            accuracy = clf.score(X_held_out, truth)
            print(f"{clf.t_:5d} texts read, accuracy on others {accuracy:.3f}")


if __name__ == "__main__":
    main()
