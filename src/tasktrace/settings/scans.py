"""The scanned digits that come with scikit-learn, of which several settings are made."""

import numpy as np
from numpy.typing import NDArray


def load_scans() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The 1,797 scans and which digit each shows.

    Returns:
        Grey levels from 0 to 16, shape (N, 1, 8, 8), and digits, shape (N,).
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images.astype(np.uint8)[:, None], bunch.target.astype(np.int64)
