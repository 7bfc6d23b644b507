"""A student with what adaptation adds to it: a domain bit, low-rank adapters, a residual.

    domain bit   one more reading, 0 in simulation and 1 on the robot; its weights begin at zero
    adapter      W + A B for every layer's W, with A random and B zero (LoRA, Hu et al. 2021)
    residual     mean + r(features), with the last layer of r zero (Johannink et al. 2019)

So at the start it computes what the student does, bit for bit or nearly so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from flax.traverse_util import flatten_dict, unflatten_dict

from mjx_s2r.learn.adapt.alignment import AlignmentParams
from mjx_s2r.learn.networks.encoders.pretrained import BACKBONE
from mjx_s2r.learn.networks.modules import Mlp, StudentNetwork, StudentOutput

SIMULATED, REAL = 0.0, 1.0
EYES = ("ImageEncoder", "KeypointHead", BACKBONE, "GRUCell")  # what is before the head


@struct.dataclass
class AdaptedParams:
    """Parameters of an adapted student, and of the alignment beside it.

    Attributes:
        student: of the network, whose readings have the domain bit behind them.
        adapter: layer -> A (m, r) and B (r, n).
        residual: of the residual network.
        alignment: of the alignment method; they do not act.
    """

    student: Any
    adapter: Any
    residual: Any
    alignment: AlignmentParams


@dataclass(frozen=True, eq=False)
class AdaptedStudent:
    """A student's network with what adaptation adds; it is applied as a `StudentNetwork` is.

    Attributes:
        network: the student.
        residual_hidden: layers of the residual network.
        domain_bit: whether it is told the domain.
        domain: which one, `SIMULATED` or `REAL`.
    """

    network: StudentNetwork
    residual_hidden: Sequence[int]
    domain_bit: bool
    domain: float = SIMULATED

    @property
    def rnn_hidden(self) -> int:
        """Size of the memory, H."""
        return self.network.rnn_hidden

    @property
    def deployed(self) -> bool:
        """Whether it is laid out for ONNX."""
        return self.network.deployed

    def clone(self, *, deployed: bool) -> "AdaptedStudent":
        """Returns it laid out for ONNX, or not."""
        return replace(self, network=self.network.clone(deployed=deployed))

    def init(
        self,
        start: Any,
        rnn_state: jax.Array,
        obs: jax.Array,
        images: Sequence[jax.Array],
        is_first: jax.Array,
        *,
        rank: int,
        key: jax.Array,
    ) -> AdaptedParams:
        """Returns parameters with which it computes what ``start``, a student's, do.

        Alignment has none yet.

        Args:
            start: the student's parameters.
            rnn_state: (B, H) of inputs as the network takes them.
            obs: (T, B, P) normalized readings, without the bit.
            images: per camera (T, B, H, W, C).
            is_first: (T, B).
            rank: of the adapters.
            key: random key.
        """
        key_adapter, key_residual = jax.random.split(key)
        inputs = rnn_state, obs, images, is_first
        student = start
        if self.domain_bit:
            student = with_new_reading(self.network, start, *inputs)
        out = jax.eval_shape(self.network.apply, student, rnn_state, self._told(obs), *inputs[2:])
        features = jnp.zeros(out.features.shape[-1:])
        residual = jax.jit(self._residual.init)(key_residual, features)
        last = f"Dense_{len(self.residual_hidden)}"
        layers = dict(residual["params"])
        layers[last] = jax.tree.map(jnp.zeros_like, layers[last])
        return AdaptedParams(
            student=student,
            adapter=jax.jit(partial(init_adapter, rank=rank))(student, key=key_adapter),
            residual={"params": layers},
            alignment=AlignmentParams({}, jnp.zeros((0, 0)), jnp.zeros((0, 0))),
        )

    def apply(
        self,
        params: AdaptedParams,
        rnn_state: jax.Array,
        obs: jax.Array,
        images: Sequence[jax.Array],
        is_first: jax.Array,
        *,
        mutable: Sequence[str] = (),
    ) -> Any:
        """Applies the network as flax does, see `StudentNetwork`.

        Readings (..., P) come without the bit. The answer is a `StudentOutput` and, where
        collections are ``mutable``, what was written into them.
        """
        merged = with_adapter(params.student, params.adapter)
        given = rnn_state, self._told(obs), images, is_first
        answer, kept = self.network.apply(merged, *given, mutable=list(mutable))
        out = cast(StudentOutput, answer)
        more = cast(jax.Array, self._residual.apply(params.residual, out.features))
        out = replace(out, policy=replace(out.policy, mean=out.policy.mean + more))
        return (out, kept) if mutable else out

    def seen(self, out: StudentOutput, readings: int) -> jax.Array:
        """Returns (..., F) features of what was seen: the memory, or the pictures without readings.

        Args:
            out: what the network made.
            readings: P, which stand behind the pictures' features where there is no memory.
        """
        own = 0 if self.rnn_hidden else readings + self.domain_bit
        return out.features[..., : out.features.shape[-1] - own]

    @property
    def _residual(self) -> Mlp:
        return Mlp((*self.residual_hidden, self.network.num_actions))

    def _told(self, obs: jax.Array) -> jax.Array:
        """Returns readings (..., P) with the domain behind them, if the network is told."""
        if not self.domain_bit:
            return obs
        bit = jnp.zeros_like(obs[..., :1]) + self.domain
        return jnp.concatenate((obs, bit), -1)


def with_new_reading(
    network: StudentNetwork,
    params: Any,
    rnn_state: jax.Array,
    obs: jax.Array,
    images: Sequence[jax.Array],
    is_first: jax.Array,
) -> Any:
    """Returns parameters for one more reading behind the others, which changes nothing yet.

    Where the reading enters is found by asking: with the reading at zero, the gradient is zero in
    the one row of a layer's weights that it is multiplied by, and in no other.

    Args:
        network: the student.
        params: its parameters for readings (T, B, P).
        rnn_state: (B, H) before the first step.
        obs: (T, B, P) readings, none of which is zero throughout.
        images: per camera (T, B, H, W, C), not all alike.
        is_first: (T, B).

    Raises:
        ValueError: parameters of another network.
    """
    wide = jnp.concatenate((obs, jnp.zeros((*obs.shape[:-1], 1), obs.dtype)), -1)
    given, rng = (rnn_state, wide, images, is_first), np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, jax.random.key(0), *given)
    fresh = jax.tree.map(lambda x: 0.1 * rng.standard_normal(x.shape, np.float32), shapes)

    def total(fresh: Any) -> jax.Array:
        """Returns a number that every output bears on."""
        out = cast(StudentOutput, network.apply(fresh, *given))
        return jnp.sum(out.policy.mean) + jnp.sum(out.estimate) + jnp.sum(out.value)

    gradient = flatten_dict(jax.device_get(jax.jit(jax.grad(total))(fresh)))
    old, new = flatten_dict(params), flatten_dict(fresh)
    if old.keys() != new.keys():
        raise ValueError("the student's parameters are of another network")
    found = {}
    for name, value in new.items():
        if value.shape == old[name].shape:
            found[name] = old[name]
            continue
        silent = np.flatnonzero(~(gradient[name] != 0).any(1))
        if len(silent) != 1 or value.shape[0] != old[name].shape[0] + 1:
            raise ValueError(
                f"layer {'/'.join(name)} has weights {value.shape} with one more reading and "
                f"{old[name].shape} without; which row is the new one cannot be told"
            )
        found[name] = jnp.asarray(np.insert(np.asarray(old[name]), silent[0], 0.0, axis=0))
    return unflatten_dict(found)


def init_adapter(params: Any, rank: int, *, key: jax.Array) -> Any:
    """Returns A (m, r) and B (r, n) for every leaf of two or more axes, m all but the last.

    A is normal with variance 1 / m, B zero. A pretrained network has none.
    """
    flat = flatten_dict(params)
    leaves = {name: x for name, x in flat.items() if x.ndim > 1 and BACKBONE not in name}
    keys = jax.random.split(key, max(1, len(leaves)))
    found = {}
    for one, (name, x) in zip(keys, leaves.items(), strict=False):
        rows, columns = x.size // x.shape[-1], x.shape[-1]
        found[*name, "a"] = jax.random.normal(one, (rows, rank)) / rows**0.5
        found[*name, "b"] = jnp.zeros((rank, columns))
    return unflatten_dict(found)


def with_adapter(params: Any, adapter: Any) -> Any:
    """Returns parameters W + A B."""
    low, found = flatten_dict(adapter), flatten_dict(params)
    for name, x in found.items():
        if (*name, "a") in low:
            found[name] = x + (low[*name, "a"] @ low[*name, "b"]).reshape(x.shape)
    return unflatten_dict(found)


def trained_leaves(params: AdaptedParams, stages: Sequence[str], network: StudentNetwork) -> Any:
    """Returns, as a tree like ``params``, (S,) 1 where a stage trains a leaf, else 0.

    Layers of a pretrained network have the share of the learning rate that the student gives them.
    What alignment learns is always trained.

    Args:
        params: of the student.
        stages: what each trains, see `mjx_s2r.learn.adapt.config.Trained`.
        network: the student, whose parts are told by their names.
    """

    def marked(tree: Any, parts: Sequence[str]) -> Any:
        return jax.tree.map(lambda _: jnp.array([float(s in parts) for s in stages]), tree)

    flat = flatten_dict(params.student)
    last = _last_layer(flat, network)
    student = {}
    for name in flat:
        share = network.encoder.rate if BACKBONE in name else 1.0
        student[name] = jnp.array([share * _is_trained(name, last, stage) for stage in stages])
    return AdaptedParams(
        student=unflatten_dict(student),
        adapter=marked(params.adapter, ("adapter",)),
        residual=marked(params.residual, ("residual",)),
        alignment=marked(params.alignment, tuple(stages)),
    )


def _is_trained(name: tuple[str, ...], last: tuple[str, ...], stage: str) -> bool:
    """Returns whether a stage trains a leaf of the student itself."""
    if stage == "all":
        return True
    if stage == "head":
        return not any(part.startswith(EYES) for part in name)
    return stage == "last" and (name[: len(last)] == last or name[-1] == "log_std")


def _last_layer(names: Any, network: StudentNetwork) -> tuple[str, ...]:
    """Returns the path of the layer that the action comes out of."""
    own = "Mlp_1" if network.num_labels else "Mlp_0"
    layer = ("params", own, f"Dense_{len(network.hidden)}")
    if not any(name[: len(layer)] == layer for name in names):
        raise ValueError(f"the student has no layer {'/'.join(layer)}; train another part of it")
    return layer
