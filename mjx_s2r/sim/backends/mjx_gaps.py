"""What MJX on jax reads and still does otherwise than C MuJoCo, or fails on only when it steps.

Found by stepping models of one feature each in both: tests/sim/backends/test_engine_fields.py.
"""

import warnings
from collections.abc import Iterator

import mujoco
import numpy as np
from mujoco.mjx._src import collision_driver as driver  # the public modules do not tell
from mujoco.mjx._src import ray

from mjx_s2r.sim.backends.engine_fields import labelled
from mjx_s2r.sim.backends.physics_config import ModelError

Bit, Sensor, Geom = mujoco.mjtDisableBit, mujoco.mjtSensor, mujoco.mjtGeom
LEAST_FRICTION = 1e-5  # mjMINMU: what C takes for less, and MJX does not
_RAYS = [int(kind) for kind in ray._RAY_FUNC]


def refuse_gaps(mj_model: mujoco.MjModel) -> None:
    """Checks that MJX simulates a model as C does.

    Raises:
        ModelError: names the element, its value and the remedy.
    """
    for message in gaps(mj_model):
        raise ModelError(message)


def gaps(mj_model: mujoco.MjModel) -> Iterator[str]:
    """Yields what MJX steps otherwise than C, each with its value and the remedy."""
    model_itself = (_softness, _passive, _muscles, _limits, _tendons, _numbers)
    for search in (*model_itself, _contacts, _frictionless, _sensors):
        yield from search(mj_model)


def warn_of_gaps(mj_model: mujoco.MjModel) -> None:
    """Warns of what MJX steps less well than C MuJoCo, without failing."""
    m, kind = mj_model, mujoco.mjtEq
    held = np.flatnonzero(np.isin(m.eq_type, [int(kind.mjEQ_CONNECT), int(kind.mjEQ_WELD)]))
    if held.size:
        warnings.warn(
            f"{labelled(m, 'equality', int(held[0]))}: MJX on jax leaves the velocity product of "
            "connect and weld (mj_Jdotv) out, so fast closed chains part from C MuJoCo; use "
            "physics.backend c where they matter",
            RuntimeWarning,
            stacklevel=3,
        )
    off = m.opt.disableflags & (Bit.mjDSBL_CONTACT | Bit.mjDSBL_CONSTRAINT)
    round_kinds = {int(Geom.mjGEOM_CYLINDER), int(Geom.mjGEOM_ELLIPSOID)}
    curved = round_kinds | {int(Geom.mjGEOM_SPHERE), int(Geom.mjGEOM_CAPSULE)}
    for one, two, _ in () if off else driver.geom_pairs(m):
        kinds = {int(m.geom_type[one]), int(m.geom_type[two])}
        if kinds & round_kinds and kinds <= curved:
            warnings.warn(
                f"{labelled(m, 'geom', int(one))} and {labelled(m, 'geom', int(two))}: MJX on jax "
                "finds depth and normal of this pair of shapes coarsely (tens of degrees off C "
                "MuJoCo); use capsules or spheres, or physics.backend c",
                RuntimeWarning,
                stacklevel=3,
            )
            return


def _softness(m: mujoco.MjModel) -> Iterator[str]:
    """Yields solver references of two signs and impedances out of range, which C alone mends."""
    for kind, count in (("geom", m.ngeom), ("jnt", m.njnt), ("eq", m.neq)):
        who = {"geom": "geom", "jnt": "joint", "eq": "equality"}[kind]
        solref, solimp = getattr(m, f"{kind}_solref"), getattr(m, f"{kind}_solimp")
        for index in np.flatnonzero((solref[:count] > 0).any(-1) & (solref[:count] < 0).any(-1)):
            yield (
                f"{labelled(m, who, int(index))}: solref {_shown(solref[index])} has two signs; "
                "write time constant and damping ratio, or stiffness and damping both negative"
            )
        wrong = (solimp[:count, :2] < 0) | (solimp[:count, :2] > 1)
        wrong = wrong.any(-1) | (solimp[:count, 2] < 0) | (solimp[:count, 4] < 1)
        for index in np.flatnonzero(wrong & (solimp[:count] != 0).any(-1)):
            yield (
                f"{labelled(m, who, int(index))}: solimp {_shown(solimp[index])} is out of range; "
                "dmin and dmax lie in [0, 1], width is at least 0 and power at least 1"
            )


def gap_error(mj_model: mujoco.MjModel, error: Exception) -> ModelError:
    """Returns the error for a model that MJX's put_model has not taken, with the element's name."""
    for message in (*pairs_without_function(mj_model), *_wrong_contact_sensors(mj_model)):
        return ModelError(message)
    return ModelError(
        f"MJX on jax cannot simulate this model ({error}); take that out of the MuJoCo model, or "
        "use physics.backend c"
    )


def _passive(m: mujoco.MjModel) -> Iterator[str]:
    """Yields springs, dampers, compensation and drag that one flag alone switches off."""
    off = m.opt.disableflags
    springs, dampers = bool(off & Bit.mjDSBL_SPRING), bool(off & Bit.mjDSBL_DAMPER)
    damped = m.dof_damping.any() or m.tendon_damping.any()
    sprung = m.jnt_stiffness.any() or m.tendon_stiffness.any()
    others = m.body_gravcomp.any() or m.opt.density > 0 or m.opt.viscosity > 0
    if springs != dampers and ((damped if springs else sprung) or others):
        yield (
            f'flag {"spring" if springs else "damper"}="disable" makes MJX on jax leave out all '
            "passive forces: springs, dampers, gravcomp and drag; take it out of <flag/> and write "
            f"zero {'stiffness' if springs else 'damping'} into the joints and tendons"
        )
    implicit = not off & Bit.mjDSBL_EULERDAMP
    euler = m.opt.integrator == mujoco.mjtIntegrator.mjINT_EULER
    if dampers and implicit and euler and m.dof_damping.any():
        joint = int(m.dof_jntid[np.flatnonzero(m.dof_damping)[0]])
        yield (
            f'{labelled(m, "joint", joint)}: flag damper="disable" leaves its damping in the '
            'inertia of MJX on jax; write damping="0" into the joint, or add eulerdamp="disable"'
        )


def _muscles(m: mujoco.MjModel) -> Iterator[str]:
    """Yields a muscle, whose damping the implicit integrator of MJX leaves out."""
    muscle = m.actuator_gaintype == mujoco.mjtGain.mjGAIN_MUSCLE
    if m.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST and muscle.any():
        yield (
            f"{labelled(m, 'actuator', int(np.flatnonzero(muscle)[0]))} is a muscle, whose change "
            "with velocity MJX on jax leaves out of the integrator implicitfast; write "
            'integrator="Euler" into the MuJoCo model'
        )


def _limits(m: mujoco.MjModel) -> Iterator[str]:
    """Yields joints and tendons that can be within the margin of both of their limits."""
    if m.opt.disableflags & (Bit.mjDSBL_LIMIT | Bit.mjDSBL_CONSTRAINT):
        return
    scalar = m.jnt_type >= int(mujoco.mjtJoint.mjJNT_SLIDE)
    for kind, limited, limits, margin in (
        ("joint", (m.jnt_limited != 0) & scalar, m.jnt_range, m.jnt_margin),
        ("tendon", m.tendon_limited != 0, m.tendon_range, m.tendon_margin),
    ):
        for index in np.flatnonzero(limited & (np.ptp(limits, axis=-1) < 2 * margin)):
            yield (
                f"{labelled(m, kind, int(index))}: margin {margin[index]:g} is more than half of "
                f"its range {_shown(limits[index])}, and MJX on jax keeps to the nearer limit "
                "alone; write a smaller margin"
            )


def _tendons(m: mujoco.MjModel) -> Iterator[str]:
    """Yields tendons whose armature couples branches, or whose inner wrap may change."""
    for tendon in np.flatnonzero(m.tendon_armature):
        first = m.ten_J_rowadr[tendon]
        dofs = m.ten_J_colind[first : first + m.ten_J_rownnz[tendon]]
        last = int(dofs.max(initial=0))
        if set(dofs.tolist()) - set(_chain(m, last)):
            yield (
                f"{labelled(m, 'tendon', int(tendon))}: armature {m.tendon_armature[tendon]:g} "
                "couples joints of several branches in MJX on jax and not in C MuJoCo; give the "
                "joints armature instead"
            )
    round_geoms = (mujoco.mjtWrap.mjWRAP_SPHERE, mujoco.mjtWrap.mjWRAP_CYLINDER)
    for wrap in np.flatnonzero(np.isin(m.wrap_type, [int(k) for k in round_geoms])):
        site = round(float(m.wrap_prm[wrap]))
        geom = int(m.wrap_objid[wrap])
        if site >= 0 and m.site_bodyid[site] != m.geom_bodyid[geom]:
            yield (
                f"{labelled(m, 'geom', geom)}: a tendon wraps around it with sidesite "
                f"{m.site(site).name!r} on another body, and MJX on jax decides once whether that "
                "is inside; put the site on the geom's body"
            )


def _chain(m: mujoco.MjModel, dof: int) -> Iterator[int]:
    """Yields a dof and those that carry it."""
    while dof >= 0:
        yield dof
        dof = int(m.dof_parentid[dof])


def _contacts(m: mujoco.MjModel) -> Iterator[str]:
    """Yields geoms and pairs without friction whose contacts have friction rows."""
    if m.opt.disableflags & (Bit.mjDSBL_CONTACT | Bit.mjDSBL_CONSTRAINT):
        return
    low = (m.geom_friction < LEAST_FRICTION).any(-1) & (m.geom_condim > 1)
    if low.any():
        for one, two, pair in driver.geom_pairs(m):
            ranks = m.geom_priority[[one, two]]
            who = [one, two] if ranks[0] == ranks[1] else [(one, two)[int(ranks.argmax())]]
            used = {1: 0, 3: 1, 4: 2, 6: 3}[int(m.geom_condim[who].max())]
            friction = m.geom_friction[who].max(0)[:used]
            if pair < 0 and (friction < LEAST_FRICTION).any():
                other = labelled(m, "geom", int(two if who[0] == one else one))
                yield (
                    f"{labelled(m, 'geom', int(who[0]))}: friction "
                    f"{_shown(m.geom_friction[who[0]])} in contact with {other} is less "
                    f"than {LEAST_FRICTION:g}, with which MJX on jax fails; write "
                    'condim="1" for no friction, or a condim that leaves out the zero ones'
                )


def _frictionless(m: mujoco.MjModel) -> Iterator[str]:
    """Yields the first contact without friction rows, of which MJX has none with elliptic cones."""
    off = m.opt.disableflags & (Bit.mjDSBL_CONTACT | Bit.mjDSBL_CONSTRAINT)
    if off or m.opt.cone != mujoco.mjtCone.mjCONE_ELLIPTIC:
        return
    for key, members in driver._geom_groups(m).items():
        if key.condim == 1:
            one, two = (labelled(m, "geom", int(geom)) for geom in members[0][:2])
            yield (
                f"{one} and {two}: condim 1 with elliptic cones is not in MJX on jax; write "
                'cone="pyramidal", or condim="3" with little friction'
            )
            return


def _sensors(m: mujoco.MjModel) -> Iterator[str]:
    """Yields sensors that MJX computes otherwise, or not at all."""
    kinds = m.sensor_type
    for index in np.flatnonzero(np.isin(kinds, _ACCELERATIONS) & (m.sensor_cutoff > 0)):
        yield (
            f"{labelled(m, 'sensor', int(index))}: cutoff {m.sensor_cutoff[index]:g} of an "
            "acceleration is ignored by MJX on jax; take it out and clip in the task"
        )
    yield from _wrong_rangefinders(m)
    yield from _wrong_contact_sensors(m)
    for index in np.flatnonzero(kinds == Sensor.mjSENS_TOUCH):
        site = int(m.sensor_objid[index])
        if int(m.site_type[site]) not in _RAYS:
            yield (
                f"{labelled(m, 'sensor', int(index))}: {labelled(m, 'site', site)} is a "
                f"{shape_name(m.site_type[site])}, which MJX on jax cannot take for a touch "
                "sensor; make it a box, sphere, capsule or ellipsoid"
            )


_ACCELERATIONS = [int(Sensor.mjSENS_FRAMELINACC), int(Sensor.mjSENS_FRAMEANGACC)]


_FOUND = 1 << int(mujoco.mjtConDataField.mjCONDATA_FOUND)  # their number, right in any order


def _wrong_rangefinders(m: mujoco.MjModel) -> Iterator[str]:
    """Yields rangefinders of cameras, with other data, or that do not see a geom."""
    for index in np.flatnonzero(m.sensor_type == Sensor.mjSENS_RANGEFINDER):
        name = labelled(m, "sensor", int(index))
        if m.sensor_objtype[index] != mujoco.mjtObj.mjOBJ_SITE:
            yield f"{name} measures from a camera, and MJX on jax only from sites; name a site"
        elif m.sensor_intprm[index, 0] != 1:
            yield f'{name} reads more than dist, and MJX on jax only that; write data="dist"'
        elif not m.nmat:
            yield (
                f"{name}: rangefinders of MJX on jax fail in models without a material; add "
                '<asset><material name="plain"/></asset> to the MuJoCo model'
            )
        else:
            mine = m.geom_bodyid == m.site_bodyid[m.sensor_objid[index]]
            for geom in np.flatnonzero(~mine & ~np.isin(m.geom_type, _RAYS))[:1]:
                yield (
                    f"{name}: {labelled(m, 'geom', int(geom))} is a "
                    f"{shape_name(m.geom_type[geom])}, which rangefinders of MJX on jax do not "
                    "see; make it another shape"
                )


def _wrong_contact_sensors(m: mujoco.MjModel) -> Iterator[str]:
    """Yields contact sensors that MJX cannot match, or whose contacts it takes at random."""
    geom, none = mujoco.mjtObj.mjOBJ_GEOM, mujoco.mjtObj.mjOBJ_UNKNOWN
    for index in np.flatnonzero(m.sensor_type == Sensor.mjSENS_CONTACT):
        name = labelled(m, "sensor", int(index))
        ends = {int(m.sensor_objtype[index]), int(m.sensor_reftype[index])}
        if ends - {int(geom), int(none)}:
            yield (
                f"{name} matches contacts by site, body or subtree, and MJX on jax only by geom; "
                "write geom1 and geom2"
            )
        elif m.sensor_intprm[index, 0] != _FOUND and m.sensor_intprm[index, 1] not in (1, 2):
            yield (
                f"{name}: MJX on jax reports other contacts than C MuJoCo unless it looks for the "
                'nearest or the strongest; write reduce="mindist" or reduce="maxforce"'
            )


def _numbers(m: mujoco.MjModel) -> Iterator[str]:
    """Yields the limits of contacts where MJX reads another custom number in their place."""
    for name in ("max_geom_pairs", "max_contact_points"):
        index = mujoco.mj_name2id(m, mujoco.mjtObj.mjOBJ_NUMERIC, name)
        if index >= 0 and m.numeric_adr[index] != index:
            yield (
                f"custom number {name!r} comes after one of several values, so MJX on jax reads "
                "another number in its place; move it to the beginning of <custom>"
            )


def pairs_without_function(m: mujoco.MjModel) -> Iterator[str]:
    """Yields the first pair of geoms that MJX has no collision function for."""
    deep = {int(Geom.mjGEOM_MESH), int(Geom.mjGEOM_HFIELD)}
    for one, two, pair in driver.geom_pairs(m):
        kinds = m.geom_type[[one, two]]
        names = " and ".join(labelled(m, "geom", int(g)) for g in (one, two))
        shapes = " against ".join(shape_name(kind) for kind in kinds)
        if not driver.has_collision_fn(*kinds):
            yield (
                f"{names}: MJX on jax has no collision of {shapes}; make one of them another "
                "shape, exclude the pair by <exclude/> or contype and conaffinity, or use "
                "physics.backend c"
            )
            return
        margin = m.pair_margin[pair] if pair >= 0 else m.geom_margin[one] + m.geom_margin[two]
        if margin and deep & set(kinds.tolist()):
            yield (
                f"{names}: MJX on jax has no margin for {shapes}, and it is {margin:g}; write "
                'margin="0", or use physics.backend c'
            )
            return


def shape_name(kind: int) -> str:
    """Returns what MuJoCo calls a type of geom."""
    return Geom(int(kind)).name.removeprefix("mjGEOM_").lower()


def _shown(values: np.ndarray) -> str:
    """Returns numbers as they are written in a model."""
    return " ".join(f"{x:g}" for x in values)
