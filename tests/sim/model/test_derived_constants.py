"""The constants that follow from masses and geometry, against C MuJoCo's mj_setConst."""

import numpy as np
import pytest

from mjx_s2r.sim.model import leaves
from tests.sim.models import SPACE, XML, batch_of_leaves, draws, load

DERIVED = ("body_subtreemass", "dof_M0", "dof_invweight0", "body_invweight0")
WORLDS = 4


@pytest.mark.parametrize("name", XML)
def test_every_leaf_equals_what_c_computes(name: str) -> None:
    """Relative to the largest entry of each array, 1e-5: float32 against C's float64."""
    worlds = draws(WORLDS)
    batch = batch_of_leaves(name)[0](worlds)
    assert set(DERIVED) <= batch.keys()
    assert ("tendon_invweight0" in batch) == (name == "tendon")
    for i, xi in enumerate(worlds):
        c = load(name)
        leaves.write(c, leaves.bind_model(SPACE, c), xi)
        for field, values in batch.items():
            holder = c.opt if field.startswith("opt.") else c
            expected = getattr(holder, field.removeprefix("opt."))
            scale = max(np.abs(expected).max(), 1e-12)
            np.testing.assert_allclose(
                values[i], expected, rtol=1e-5, atol=1e-6 * scale, err_msg=field
            )


@pytest.mark.parametrize("name", XML)
def test_the_nominal_draw_gives_the_model_as_it_was_written(name: str) -> None:
    batch = batch_of_leaves(name)[0](np.tile(SPACE.nominal, (WORLDS, 1)))
    c = load(name)
    for field in DERIVED:
        expected = getattr(c, field)
        np.testing.assert_allclose(batch[field][0], expected, rtol=1e-5, atol=1e-6, err_msg=field)


def test_new_values_compile_nothing() -> None:
    for name in XML:
        function, traces = batch_of_leaves(name)
        function(draws(WORLDS, seed=1))
        before = len(traces)
        function(draws(WORLDS, seed=2))
        assert len(traces) == before == 1


def test_every_world_of_a_batch_is_its_own() -> None:
    function = batch_of_leaves("free")[0]
    worlds = draws(WORLDS)
    batch, turned = function(worlds), function(worlds[::-1].copy())
    for field, values in batch.items():
        np.testing.assert_array_equal(values, np.asarray(turned[field])[::-1], err_msg=field)
    assert np.ptp(batch["body_subtreemass"][:, 1]) > 0.1
