"""Labelled scores made by chance, for tests of evaluation."""

from __future__ import annotations

import numpy as np

from guard_magic.evaluation.samples import Sample


def sample(n: int = 300, *, share: float = 0.3, apart: float = 2.5, seed: int = 0, digits: int = 2) -> Sample:
    """Rows of two classes with normal log-odds `apart` from each other; scores rounded, so that there are ties."""
    rng = np.random.default_rng(seed)
    unsafe = (rng.random(n) < share).astype(float)
    scores = 1 / (1 + np.exp(-(rng.normal(size=n) + apart * (unsafe - 0.5))))
    return Sample(unsafe=unsafe, scores=scores.round(digits), weights=np.ones(n), rows=np.arange(n))


def of(unsafe: list[float], scores: list[float], contents: list[int] | None = None) -> Sample:
    """The sample of these rows."""
    n = len(unsafe)
    return Sample(
        unsafe=np.array(unsafe, dtype=float),
        scores=np.array(scores, dtype=float),
        weights=np.ones(n),
        rows=np.arange(n),
        contents=None if contents is None else np.array(contents),
    )
