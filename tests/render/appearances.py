"""Looks for tests of single camera effects."""

from dataclasses import MISSING, fields
from typing import Any

import jax.numpy as jnp

from mjx_s2r.render.looks.appearance import Appearance


def only(**effects: Any) -> Appearance:
    """Returns a look with these camera effects and no others; its scene fields are empty."""
    needed = {f.name: jnp.zeros(()) for f in fields(Appearance) if f.default is MISSING}
    return Appearance(**needed, **{name: jnp.float32(value) for name, value in effects.items()})
