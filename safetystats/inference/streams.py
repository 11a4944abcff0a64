"""Seeds for named pieces of work, and the type of a progress report; needs no sampler."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Report = Callable[[int, int], None]
"""Called with (draws done, draws in all) while sampling."""


def seed_for(seed: int, *labels: str) -> int:
    """Return a seed for one named piece of work: the same labels give the same stream, whatever else is run."""
    digest = [byte for label in labels for byte in (*label.encode("utf-8"), 0)]
    return int(np.random.SeedSequence([seed, len(labels), *digest]).generate_state(1, np.uint64)[0])
