"""What the tests of identification share."""

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """Draws that are the same in every run."""
    return np.random.default_rng(7)
