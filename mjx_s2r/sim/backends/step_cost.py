"""What a step in MJX on jax will ask for, before anything is traced: contacts, memory, compiling.

MJX reserves a place for every contact that any pair of geoms may have, and takes each kind of pair
by a function of its own. For two convex meshes it looks at every edge of the one with every edge of
the other (`_sat_gaussmap` in mujoco/mjx/_src/collision_convex.py), so two hulls of some thousand
edges ask for gigabytes a world. The pairs, points and rows are those of MJX's own tables; bytes and
seconds are fitted to what XLA's compiler reserved (see `step_cost`).
"""

import os
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax
import mujoco
import numpy as np
import trimesh
from mujoco.mjx._src import collision_driver as driver  # the public modules do not tell
from mujoco.mjx._src import constraint

from mjx_s2r.sim.backends.engine_fields import labelled
from mjx_s2r.sim.backends.mjx_gaps import shape_name
from mjx_s2r.sim.backends.physics_config import ModelError, PhysicsConfig

Geom = mujoco.mjtGeom
BYTES_EDGE_PAIR = 104.0  # of one edge of a hull with one of another
BYTES_BOXES = 500.0  # of two boxes, which have a function of their own
BYTES_EDGE = {"capsule": 45.0, "sphere": 25.0, "plane": 10.0}  # of one edge of a hull with these
BYTES_ROW = 14.0  # of one row of constraints and one degree of freedom
BYTES_DOF = 13.0  # of one degree of freedom and another
BYTES_BODY = 100.0
SECONDS = {"step": 6.0, "simple": 2.0, "convex": 9.0}  # to compile, on two cores of a CPU
LONGEST_S = 1800.0  # a program that compiles for longer is refused
_BOX_EDGES, _PRISM_EDGES = 12, 9


@dataclass(frozen=True, eq=False)
class PairGroup:
    """Pairs of geoms that one call of a collision function of MJX takes.

    Attributes:
        shapes: of both geoms, such as ("box", "mesh").
        geoms: (P, 2) ids.
        points: contact points that MJX reserves for them.
        memory: bytes that one world needs while the function runs.
        convex: whether it is one of the functions that compile for long.
    """

    shapes: tuple[str, str]
    geoms: np.ndarray
    points: int
    memory: float
    convex: bool


@dataclass(frozen=True, eq=False)
class StepCost:
    """Needs of a step.

    Attributes:
        groups: pairs of geoms, by collision function.
        points: contact points of one world, after the model's own limits.
        rows: rows of constraints of one world: equalities, friction, limits and contacts.
        solver_bytes: memory of one world in dynamics and solver.
    """

    groups: tuple[PairGroup, ...]
    points: int
    rows: int
    solver_bytes: float

    @cached_property
    def world_bytes(self) -> float:
        """Memory of one world: dynamics, solver and the largest of the collision functions."""
        return self.solver_bytes + max((g.memory for g in self.groups), default=0.0)

    @property
    def compile_s(self) -> float:
        """Seconds that the step alone compiles on two cores; a training takes some times that."""
        convex = sum(g.convex for g in self.groups)
        simple = len(self.groups) - convex
        return SECONDS["step"] + SECONDS["simple"] * simple + SECONDS["convex"] * convex

    @property
    def pairs(self) -> Counter[tuple[str, str]]:
        """Pairs of geoms by their shapes."""
        found: Counter[tuple[str, str]] = Counter()
        for group in self.groups:
            found[group.shapes] += len(group.geoms)
        return found

    def worst(self, count: int = 3) -> tuple[PairGroup, ...]:
        """Returns the groups that need most memory, the largest first."""
        return tuple(sorted(self.groups, key=lambda g: -g.memory)[:count])


def step_cost(mj_model: mujoco.MjModel) -> StepCost:
    """Returns what a step in MJX on jax asks for, in milliseconds and without tracing.

    Bytes are fitted to what XLA (jax 0.9.2, CPU) reserved for one step of 64 worlds of 18 small
    models: pairs of spheres, capsules, boxes, cylinders, meshes of up to 1,920 edges and height
    fields, and shipped tasks. Of those that need more than 30 kB a world the estimate is 0.99 to
    1.16 times what was reserved; of the others 0.7 to 2.8 times. A GPU's compiler reserves
    differently. Seconds are rougher: they are fitted to a robot of 34 kinds of pairs of meshes,
    which took five minutes on two idle cores.

    Pairs of shapes that MJX cannot collide count nothing here; `mjx_gaps` refuses them.
    """
    off = mujoco.mjtDisableBit.mjDSBL_CONTACT | mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
    known = {} if mj_model.opt.disableflags & off else driver._geom_groups(mj_model)
    most = driver._numeric(mj_model, "max_geom_pairs")
    hulls: dict[int, int] = {}
    groups, dims = [], []
    for key, members in known.items():
        function = driver._COLLISION_FUNC.get(key.types)
        if function is None:
            continue
        geoms = np.array(members)[:, :2]
        culled = most >= 0 and not set(key.types) & driver._GEOM_NO_BROADPHASE
        count = min(len(geoms), most) if culled else len(geoms)
        points = function.ncon * count
        dims += [int(key.condim)] * points
        memory = count * _pair_bytes(mj_model, key, hulls)
        convex = bool({int(Geom.mjGEOM_MESH), int(Geom.mjGEOM_HFIELD)} & set(map(int, key.types)))
        shapes = (shape_name(key.types[0]), shape_name(key.types[1]))
        groups.append(PairGroup(shapes, geoms, points, memory, convex))
    limited = _limit_points(mj_model, dims)
    rows = len(constraint.make_efc_type(mj_model, limited))
    nv = mj_model.nv
    solver = BYTES_DOF * nv**2 + BYTES_ROW * rows * nv + BYTES_BODY * mj_model.nbody
    return StepCost(tuple(groups), len(limited), rows, solver)


def _limit_points(mj_model: mujoco.MjModel, dims: list[int]) -> np.ndarray:
    """Returns the dimensions of the contacts that max_contact_points leaves, of each kind."""
    most = driver._numeric(mj_model, "max_contact_points")
    counts = {dim: count if most < 0 else min(count, most) for dim, count in Counter(dims).items()}
    return np.repeat(np.array(sorted(counts), int), [counts[dim] for dim in sorted(counts)])


def _pair_bytes(m: mujoco.MjModel, key: driver.FunctionKey, hulls: dict[int, int]) -> float:
    """Returns the bytes that one pair of a kind needs; ``hulls`` keeps the edges of each mesh."""
    edges = []
    for kind, data in zip(map(int, key.types), map(int, key.data_ids), strict=True):
        if kind == int(Geom.mjGEOM_MESH):
            if data not in hulls:
                hulls[data] = hull_edges(m, data)
            edges.append(hulls[data])
        elif kind == int(Geom.mjGEOM_BOX):
            edges.append(_BOX_EDGES)
        elif kind == int(Geom.mjGEOM_HFIELD):
            edges.append(_PRISM_EDGES * 2 * key.subgrid_size[0] * key.subgrid_size[1])
    if set(map(int, key.types)) == {int(Geom.mjGEOM_BOX)}:
        return BYTES_BOXES
    if len(edges) == 2:
        return BYTES_EDGE_PAIR * edges[0] * edges[1]
    return max(BYTES_EDGE.get(shape_name(kind), 0.0) for kind in key.types) * sum(edges)


def hull_edges(m: mujoco.MjModel, mesh: int) -> int:
    """Returns how many edges MJX keeps of a mesh's convex hull, flat ones left out.

    MuJoCo's compiler leaves the hull in mesh_graph (format: mjMeshGraph in MuJoCo's user_mesh.cc);
    MJX merges faces that trimesh calls parallel (`_merge_coplanar` in mujoco/mjx/_src/mesh.py). On
    the hulls of ten scanned parts this found 1 to 18 % more edges than MJX keeps, since it also
    drops corners of faces with more than 20.
    """
    if m.mesh_graphadr[mesh] < 0:
        return 0
    graph = m.mesh_graph[m.mesh_graphadr[mesh] :]
    corners, faces = int(graph[0]), int(graph[1])
    first = 2 + 3 * corners + 3 * faces
    triangles = graph[first : first + 3 * faces].reshape(-1, 3)
    used, triangles = np.unique(triangles, return_inverse=True)
    vertices = m.mesh_vert[m.mesh_vertadr[mesh] + used]
    hull = trimesh.Trimesh(vertices, triangles.reshape(-1, 3))
    with np.errstate(divide="ignore", invalid="ignore"):
        flatness = (hull.face_adjacency_radius / hull.face_adjacency_span) ** 2
    return int((~(flatness > trimesh.constants.tol.facet_threshold)).sum())


def memory_here() -> float:
    """Returns the bytes that a program may have: of all accelerators, or of this machine."""
    device = jax.local_devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit") if device.platform != "cpu" else None
    if limit:
        return float(limit) * jax.device_count()
    whole = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    group = Path("/sys/fs/cgroup/memory.max")
    text = group.read_text().strip() if group.exists() else "max"
    return min(whole, float(text)) if text.isdigit() else whole


def refuse_too_large(mj_model: mujoco.MjModel, config: PhysicsConfig | None, worlds: int) -> None:
    """Checks that the step of ``worlds`` worlds in MJX on jax can be compiled and held here.

    Raises:
        ModelError: it asks for more memory than there is, or for a compile without an end; names
            the pairs of geoms that cause it.
    """
    if config is not None and config.backend != "jax":
        return
    cost = step_cost(mj_model)
    for problem in too_large(mj_model, cost, worlds, memory_here()):
        raise ModelError(problem)


def too_large(m: mujoco.MjModel, cost: StepCost, worlds: int, memory: float) -> list[str]:
    """Returns why a step of ``worlds`` worlds does not fit into ``memory`` bytes; empty if so."""
    found = []
    if cost.world_bytes * worlds > memory:
        fit = int(memory // cost.world_bytes)
        fewer = f"take {fit} worlds at most, " if fit >= 16 else ""
        found.append(
            f"{_culprits(m, cost)}: a step of {worlds} worlds in MJX on jax asks for about "
            f"{in_bytes(cost.world_bytes * worlds)}, and here are {in_bytes(memory)}; make "
            "collision geoms of primitives with `python -m train prepare`, "
            f"{fewer}or use physics.backend c"
        )
    if cost.compile_s > LONGEST_S:
        convex = sum(g.convex for g in cost.groups)
        found.append(
            f"{_culprits(m, cost)}: with {convex} kinds of pairs with meshes a step in MJX on jax "
            f"would compile for about {cost.compile_s / 60:.0f} minutes; make collision geoms of "
            "primitives with `python -m train prepare`, exclude pairs, or use physics.backend c"
        )
    return found


def _culprits(m: mujoco.MjModel, cost: StepCost) -> str:
    """Returns in words which pairs of geoms ask for most."""
    largest = max((g.memory for g in cost.groups), default=0.0)
    if largest < cost.solver_bytes:
        return f"{cost.points} contacts and {cost.rows} rows of constraints for {m.nv} dofs"
    names = []
    for group in cost.worst():
        one, two = (described_geom(m, int(g)) for g in group.geoms[0])
        more = f" and {len(group.geoms) - 1} pairs like it" if len(group.geoms) > 1 else ""
        names.append(f"{one} with {two}{more} ({in_bytes(group.memory)} a world)")
    return ", ".join(names)


def described_geom(m: mujoco.MjModel, geom: int) -> str:
    """Returns what a geom is called; one without a name also by its mesh or its body."""
    name = labelled(m, "geom", geom)
    if m.geom(geom).name:
        return name
    data = int(m.geom_dataid[geom])
    if m.geom_type[geom] == int(Geom.mjGEOM_MESH):
        return f"{name} (mesh {m.mesh(data).name!r})"
    return f"{name} ({labelled(m, 'body', int(m.geom_bodyid[geom]))})"


def in_bytes(amount: float) -> str:
    """Returns a number of bytes as one reads it, such as "4.6 TB"."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":
            return f"{amount:.3g} {unit}" if amount < 1000 else f"{amount:,.0f} {unit}"
        amount /= 1000
    raise AssertionError


def unsupported_pairs(m: mujoco.MjModel) -> Counter[tuple[str, str]]:
    """Returns the pairs of geoms that MJX on jax has no collision function for, by shapes."""
    found: Counter[tuple[str, str]] = Counter()
    for one, two, _ in driver.geom_pairs(m):
        kinds = m.geom_type[[one, two]]
        if not driver.has_collision_fn(*kinds):
            found[shape_name(kinds[0]), shape_name(kinds[1])] += 1
    return found
