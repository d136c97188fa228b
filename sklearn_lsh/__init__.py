"""Neural networks that compute only the nodes hashing finds worth it, for scikit-learn.

The rooms, in the order in which a call to ``fit`` walks through them:

``_classifier``  parameters, validation, fitted attributes; scikit-learn's conventions
``_data``        input matrices to rows
``_labels``      labels to targets, and back
``_memory``      what a network takes, and whether there is room for it
``_resolve``     what each ``"auto"`` stands for
``_network``     owns every array; builds the compiled layers over them; persistence
``_state``       what a state must be that compiled code is built over
``_training``    epochs, shuffling, schedules, stopping, history
``_rehash``      when hash functions are renewed and moved rows re-encoded
``_renewal``     how they are renewed
``_calibration`` how long sketches and short lists must be, measured on a sample
``_products``    products with all rows of a layer's weights, on several threads
``_threads``     how many threads a call may use, ours and BLAS's
``_whitening``   which directions of the input are whitened
``_prediction``  rows in, probabilities out; validated or not
``_pace``        cuts long work into calls between which Ctrl-C is heard
``core``         the compiled rooms; ``core/engine.pyx`` holds every parallel loop
``inspection``   active sets and their recall
``metrics``      precision at k and its kin, as scorers
``datasets``     the extreme classification repository's text format

See doc/internals for the arrows between them.
"""

from ._classifier import LSHMLPClassifier

__all__ = ["LSHMLPClassifier", "__version__"]
__version__ = "0.1.0"
