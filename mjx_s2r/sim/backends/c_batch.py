"""C MuJoCo in batch as the engine of the physics steps: one call for all worlds, on every core.

It takes contacts, closed chains and actuators that MJX cannot step, and on a CPU it is faster but
for the smallest models. A control step is one callback out of the compiled program: the states of N
worlds go in as they are carried (float32), `mujoco.batch` takes the physics steps in double
precision, and the states come back. The result depends on nothing but what goes in, at any number
of threads, so a training resumes bit by bit.

Model fields of a world are written where they differ from those of the last call, and MuJoCo itself
recomputes the constants that follow from them (mj_setConst). Where sizes or places of geoms change,
the mid-phase of collision is switched off, whose tree of boxes is the compiler's. The heights of a
height field are shared by the worlds of a batch: where each world has its own ground, each has a
model of its own, which takes as much memory as the model.

It has no gradient and runs on one device.
"""

import copy
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import mujoco
import numpy as np
from mujoco import batch

from mjx_s2r.sim.backends.physics_config import ModelError
from mjx_s2r.sim.model.virtual_fields import MOVES_BOXES, boxes_of_geoms

# What a state consists of here, and the name of each part in C; the first five are moved by a step
STATE = {
    **{name: name for name in ("qpos", "qvel", "act", "time")},
    "warmstart": "qacc_warmstart",
    **{name: name for name in ("mocap_pos", "mocap_quat")},
}
MOVED = tuple(STATE)[:5]
SHARED = ("hfield_data",)  # fields that mujoco.batch has once for all worlds
# Fields of Data that mj_forward computes and mjx.Data holds in the same shape
FORWARD_FIELDS = (
    *("act_dot", "ten_length", "cvel", "cdof_dot", "qfrc_bias", "qfrc_passive", "qfrc_gravcomp"),
    *("qfrc_actuator", "qfrc_smooth", "qacc_smooth", "actuator_force", "actuator_length"),
    *("qacc", "qfrc_constraint", "sensordata", "qfrc_fluid"),
)


@dataclass
class _Worlds:
    """N worlds in C, and the model fields that were written into them last.

    Attributes:
        batch: the worlds.
        written: field (dotted path) -> (N, ...) float32 values as they came.
        models: the model of each world, where the batch cannot give worlds fields of their own.
    """

    batch: batch.Batch
    written: dict[str, np.ndarray] = field(default_factory=dict)
    models: list[mujoco.MjModel] = field(default_factory=list)

    def put(self, name: str, which: np.ndarray, value: np.ndarray) -> None:
        """Writes a field (dotted path) into some worlds (W,): ``value`` (W, ...)."""
        if not self.models:
            self.batch.expand(name)[which] = value
            return
        for i, own in zip(which, value, strict=True):
            model = self.models[i]
            holder = model.opt if name.startswith("opt.") else model
            getattr(holder, name.removeprefix("opt."))[:] = own
        self.batch.set_models(self.models)

    def set_constants(self, which: np.ndarray) -> None:
        """Has MuJoCo recompute the constants of some worlds (W,)."""
        if not self.models:
            self.batch.set_const(which.astype(np.int32))
            return
        data = mujoco.MjData(self.models[0])
        for i in which:
            mujoco.mj_setConst(self.models[i], data)
        self.batch.set_models(self.models)


class CBatch:
    """A model in C MuJoCo, and the worlds that were made of it, by their number."""

    def __init__(self, mj_model: mujoco.MjModel) -> None:
        """Copies the model; unstable worlds are not reset here, so that they can be counted.

        Raises:
            ModelError: a model with a past of its own (sensors with interval, plugins),
                which is not part of a world's state here, or one whose bodies sleep.
        """
        kinds = mujoco.mjtState
        for kind, what in ((kinds.mjSTATE_HISTORY, "interval"), (kinds.mjSTATE_PLUGIN, "plugin")):
            if mujoco.mj_stateSize(mj_model, kind):
                raise ModelError(
                    f"physics.backend 'c': the model's {what} keeps a past, which episodes would "
                    "hand on to one another; take it out of the MuJoCo model, and give the table "
                    "rows on 'sensor.delay_s' or 'sensor.period_s'"
                )
        if mj_model.opt.enableflags & mujoco.mjtEnableBit.mjENBL_SLEEP:
            raise ModelError(
                "physics.backend 'c': the model's flag sleep: which bodies sleep is not kept "
                'between steps; remove sleep="enable" from the MuJoCo model'
            )
        self.model = copy.copy(mj_model)
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        self._worlds: dict[int, _Worlds] = {}
        self._lock = threading.Lock()

    def steps(
        self,
        leaves: Mapping[str, np.ndarray],
        state: Mapping[str, np.ndarray],
        ctrl: np.ndarray,
        wrench: np.ndarray | None,
        force_range: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """Returns the states of N worlds S physics steps later.

        Args:
            leaves: model fields of each world, (N, ...).
            state: the parts of `STATE`, (N, ...).
            ctrl: (N, S, nu) controls of every step.
            wrench: (N, nbody, 6) force N and torque N m from outside, or None.
            force_range: qvel (N, nv) -> actuator_forcerange (N, nu, 2) at that speed, or None.
        """
        with self._lock:
            if force_range is not None:  # it is written before every step
                leaves = {n: x for n, x in leaves.items() if n != "actuator_forcerange"}
            worlds = self._loaded(leaves, state, wrench, len(ctrl))
            sims, everyone = worlds.batch, np.arange(len(ctrl))
            now = sims.bind("ctrl")
            for step in range(ctrl.shape[1]):
                now[:] = ctrl[:, step]
                if force_range is not None:
                    worlds.put("actuator_forcerange", everyone, force_range(sims.bind("qvel")))
                    worlds.written.pop("actuator_forcerange", None)
                sims.step()
            return {name: np.array(sims.bind(STATE[name]), np.float32) for name in MOVED}

    def forward(
        self,
        leaves: Mapping[str, np.ndarray],
        state: Mapping[str, np.ndarray],
        ctrl: np.ndarray,
        wrench: np.ndarray | None,
    ) -> dict[str, np.ndarray]:
        """Returns `FORWARD_FIELDS` of N worlds by mj_forward; ``ctrl`` (N, nu), see `steps`."""
        with self._lock:
            sims = self._loaded(leaves, state, wrench, len(ctrl)).batch
            sims.bind("ctrl")[:] = ctrl
            bound = {name: sims.bind(name) for name in FORWARD_FIELDS}
            sims.forward()
            return {name: np.array(value, np.float32) for name, value in bound.items()}

    def _loaded(
        self,
        leaves: Mapping[str, np.ndarray],
        state: Mapping[str, np.ndarray],
        wrench: np.ndarray | None,
        count: int,
    ) -> _Worlds:
        """Returns N worlds with these model fields and states in them."""
        worlds = self._worlds.get(count)
        if worlds is None:
            model = self.model
            if MOVES_BOXES & leaves.keys():
                model = copy.copy(model)
                model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_MIDPHASE
            worlds = self._worlds[count] = _Worlds(batch.Batch(model, count))
            if not leaves.keys().isdisjoint(SHARED):
                worlds.models.extend(copy.copy(model) for _ in range(count))
        self._write(worlds, leaves)
        for name, in_c in STATE.items():
            worlds.batch.bind(in_c)[:] = state[name]
        worlds.batch.bind("xfrc_applied")[:] = 0.0 if wrench is None else wrench
        return worlds

    def _write(self, worlds: _Worlds, leaves: Mapping[str, np.ndarray]) -> None:
        """Writes the model fields of the worlds in which they are not those of the last call."""
        sims, changed = worlds.batch, np.zeros(worlds.batch.nsim, bool)
        for name, value in leaves.items():
            last = worlds.written.get(name)
            if last is None:
                differs = np.ones(sims.nsim, bool)
            else:
                differs = (value != last).reshape(sims.nsim, -1).any(-1)
            if differs.any():
                worlds.put(name, np.flatnonzero(differs), value[differs])
                worlds.written[name] = np.array(value)
                changed |= differs
        if not changed.any():
            return
        which = np.flatnonzero(changed)
        if "geom_size" in leaves:
            nominal, kinds = np.asarray(self.model.geom_aabb), np.asarray(self.model.geom_type)
            sizes = leaves["geom_size"][which]
            boxes = [boxes_of_geoms(np, kinds, size, nominal) for size in sizes]
            worlds.put("geom_aabb", which, np.stack(boxes))
        worlds.set_constants(which)
