"""A small table and made-up episodes for the tests of the schedules."""

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.curriculum.interface import Curriculum, Episodes
from mjx_s2r.params import Param, ParamSpace

# Four bounds that can move, a row that cannot, and one whose law is logarithmic.
SPACE = ParamSpace(
    (
        Param("mass", "model.body_mass", ("a",), initial=(0.9, 1.1), limits=(0.5, 2.5)),
        Param("fixed", "model.body_mass", ("b",)),
        Param("friction", "model.geom_friction", ("c",), limits=(0.1, 10.0), law="log_uniform"),
    )
)


def compiled(schedule: Curriculum) -> Curriculum:
    """Returns it with compiled functions: one program each in place of dozens of small ones."""
    return schedule._replace(
        sample=jax.jit(schedule.sample, static_argnums=1),
        update=jax.jit(schedule.update),
        report=jax.jit(schedule.report),
    )


def episodes(kinds: list[int], scores: list[float], versions: list[int] | None = None) -> Episodes:
    """Returns one step in as many worlds as there are ``kinds``; an episode ends in each."""
    return episodes_of(SPACE, kinds, scores, versions)


def episodes_of(
    space: ParamSpace, kinds: list[int], scores: list[float], versions: list[int] | None = None
) -> Episodes:
    """Returns the same with the nominal xi of any table."""
    n = len(kinds)
    return Episodes(
        ended=jnp.ones((1, n), bool),
        score=jnp.array([scores], jnp.float32),
        kind=jnp.array([kinds], jnp.int32),
        version=jnp.array([versions or [0] * n], jnp.int32),
        xi=jnp.asarray(np.tile(space.nominal, (1, n, 1))),
    )
