"""Euclidean distances between the filters of one layer, for the criteria that look for what could replace a filter."""

import numpy as np

COLUMNS = 4096  # of the rows that are in float64 at once


def distances(rows: np.ndarray) -> np.ndarray:
    """float64 [n,n] from float32 [n,d]: |a - b| by |a|^2 + |b|^2 - 2ab, whose error is some 1e-8 of the norms."""
    products = np.zeros((len(rows), len(rows)))
    for start in range(0, rows.shape[1], COLUMNS):
        part = rows[:, start : start + COLUMNS].astype(np.float64)
        products += part.dot(part.T)
    squares = products.diagonal()
    found = squares[:, None] + squares[None, :] - 2.0 * products
    found = np.sqrt(np.maximum((found + found.T) / 2.0, 0.0))
    np.fill_diagonal(found, 0.0)
    return found
