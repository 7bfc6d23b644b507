"""Colliding meshes of a specification replaced by fitted primitives, link by link."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from mjx_s2r.mjcf.checks import colliding
from mjx_s2r.mjcf.convex import Piece, convex_pieces, dent, hull_piece
from mjx_s2r.mjcf.fit import WORSE, Error, cluster, measure, without_hidden
from mjx_s2r.mjcf.naming import free
from mjx_s2r.mjcf.shapes import Kind, Primitive

COLLISION_GROUP = 3  # of geoms, where MuJoCo's viewer does not show them unless asked
WORSE_INSIDE = 2.0  # error of a cheaper shape over the best's, for links that are no ends
DRAWN = 2  # last group that is shown
HIDDEN = 0.2  # share of the accepted error within which a primitive adds nothing to the others
TYPES = {
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "box": mujoco.mjtGeom.mjGEOM_BOX,
}
# What decides how a contact acts: only geoms that agree in it may become one.
CONTACT = (
    *("contype", "conaffinity", "condim", "priority", "friction"),
    *("solmix", "solref", "solimp", "margin", "gap"),
)


@dataclass(frozen=True, eq=False)
class LinkFit:
    """The primitives that replace the colliding meshes of a body.

    Attributes:
        body: its name.
        meshes: how many mesh geoms collided.
        dent_mm: depth of the deepest dent that the meshes' convex hulls filled [mm].
        pieces: convex pieces that the primitives stand for.
        primitives: in the frame of the body.
        names: of the geoms.
        error: how far they are from the pieces.
        accepted_mm: the error that was aimed at [mm].
    """

    body: str
    meshes: int
    dent_mm: float
    pieces: tuple[Piece, ...]
    primitives: tuple[Primitive, ...]
    names: tuple[str, ...]
    error: Error
    accepted_mm: float

    @property
    def missed(self) -> bool:
        """Whether the primitives are further off than was aimed at."""
        return max(self.error.out_mm, self.error.short_mm) > self.accepted_mm


def colliding_meshes(m: mujoco.MjModel) -> list[int]:
    """Returns the geoms of type mesh that can touch something, by mask or by an explicit pair."""
    meshes = colliding(m) & (m.geom_type == mujoco.mjtGeom.mjGEOM_MESH)
    return [int(g) for g in np.flatnonzero(meshes)]


def end_links(m: mujoco.MjModel) -> set[int]:
    """Returns the bodies at the ends of a robot, which touch things: fingers and palms, feet.

    A body is at an end if no more than one joint follows after it; what hangs on it without joints
    is the same link.
    """
    follow = np.zeros(m.nbody, int)
    for b in range(m.nbody - 1, 0, -1):
        weld = m.body_weldid[b]
        if weld:
            above = m.body_weldid[m.body_parentid[weld]]
            follow[above] = max(follow[above], follow[weld] + 1)
    return {b for b in range(m.nbody) if follow[m.body_weldid[b]] <= 1}


def fit_links(
    spec: mujoco.MjSpec,
    m: mujoco.MjModel,
    share: float,
    most: tuple[int, int],
    kinds: Sequence[Kind],
    tell: Callable[[str], None],
) -> list[LinkFit]:
    """Replaces colliding meshes in ``spec`` by primitives; what was drawn as well is still drawn.

    Args:
        spec: everything in it named.
        m: what it compiles to.
        share: accepted error, as a share of the diagonal of a link's colliding meshes.
        most: primitives of a link, at most: of one at an end of the robot, and of another.
        kinds: shapes to choose from.
        tell: is told what is being fitted.
    """
    geoms = {geom.id: geom for geom in spec.geoms}
    by_body: dict[int, list[int]] = {}
    for g in colliding_meshes(m):
        by_body.setdefault(int(m.geom_bodyid[g]), []).append(g)
    referenced, ends = _referenced(spec), end_links(m)
    cache: dict[tuple[int, bool], list[Piece]] = {}
    out = []
    for body, members in by_body.items():
        tell(m.body(body).name)
        end = body in ends
        how = (share, most[0 if end else 1], kinds, WORSE if end else WORSE_INSIDE)
        out.append(_fit_link(spec, m, geoms, members, referenced, cache, how))
    return out


def _fit_link(
    spec: mujoco.MjSpec,
    m: mujoco.MjModel,
    geoms: dict[int, mujoco.MjsGeom],
    members: list[int],
    referenced: set[str],
    cache: dict[tuple[int, bool], list[Piece]],
    how: tuple[float, int, Sequence[Kind], float],
) -> LinkFit:
    """Replaces the colliding meshes ``members`` of one body."""
    share, most, kinds, worse = how
    points = np.concatenate([_placed(m, g, _vertices(m, g)) for g in members])
    accepted = share * float(np.linalg.norm(np.ptp(points, axis=0)))
    body = geoms[members[0]].parent.name
    groups: dict[tuple[object, ...], list[int]] = {}
    for g in members:
        alone = g if geoms[g].name in referenced else None
        key = (alone, *(np.asarray(getattr(m, f"geom_{name}")[g]).tobytes() for name in CONTACT))
        groups.setdefault(key, []).append(g)
    pieces: list[Piece] = []
    primitives: list[Primitive] = []
    sources: list[int] = []
    deepest = 0.0
    for group in groups.values():
        of_group: list[Piece] = []
        owner: list[int] = []
        for g in group:
            found, filled = _pieces(m, g, accepted, cache)
            of_group += found
            owner += [g] * len(found)
            deepest = max(deepest, filled)
        room = max(1, round(most * len(group) / len(members)))
        for primitive, stands_for in cluster(of_group, accepted, room, kinds, worse):
            primitives.append(primitive)
            sources.append(owner[stands_for[0]])
        pieces += of_group
    kept = (
        without_hidden(primitives, HIDDEN * accepted)
        if len(groups) == 1
        else list(range(len(primitives)))
    )
    names = _exchange(spec, m, geoms, members, [(primitives[i], sources[i]) for i in kept])
    chosen = [primitives[i] for i in kept]
    return LinkFit(
        body=body,
        meshes=len(members),
        dent_mm=1e3 * deepest,
        pieces=tuple(pieces),
        primitives=tuple(chosen),
        names=tuple(names),
        error=measure(chosen, pieces),
        accepted_mm=1e3 * accepted,
    )


def _pieces(
    m: mujoco.MjModel, g: int, accepted: float, cache: dict[tuple[int, bool], list[Piece]]
) -> tuple[list[Piece], float]:
    """Returns a geom's convex pieces in the frame of its body, and its deepest dent [m]."""
    mesh, vertices = int(m.geom_dataid[g]), _vertices(m, g)
    first = m.mesh_faceadr[mesh]
    faces = m.mesh_face[first : first + m.mesh_facenum[mesh]]
    filled = dent(hull_piece(vertices), vertices)
    key = (mesh, filled > accepted)
    if key not in cache:
        cache[key] = convex_pieces(vertices, faces, accepted)
    return [_moved(m, g, piece) for piece in cache[key]], filled


def _exchange(
    spec: mujoco.MjSpec,
    m: mujoco.MjModel,
    geoms: dict[int, mujoco.MjsGeom],
    members: list[int],
    new: list[tuple[Primitive, int]],
) -> list[str]:
    """Takes the meshes' contacts away and adds the primitives, each like the geom it stems from.

    The first primitive of a geom takes its name. A mesh that was drawn stays as ``name_visual``,
    unless the same mesh is drawn there by another geom.
    """
    taken = {geom.name for geom in spec.geoms}
    names: dict[int, str] = {}
    for g in members:
        geom = geoms[g]
        names[g] = geom.name
        if m.geom_group[g] <= DRAWN and not _drawn_by_another(m, g):
            geom.name = free(f"{geom.name}_visual", taken)
            taken.add(geom.name)
            geom.contype = geom.conaffinity = 0
        else:
            spec.delete(geom)
    out = []
    for primitive, source in new:
        name = names.pop(source, None) or free(
            f"{m.body(m.geom_bodyid[source]).name}_collision", taken
        )
        taken.add(name)
        add_primitive(spec, m, source, primitive, name)
        out.append(name)
    return out


def add_primitive(
    spec: mujoco.MjSpec, m: mujoco.MjModel, like: int, primitive: Primitive, name: str
) -> None:
    """Adds a geom of a primitive to the body of geom ``like``, with the same contacts."""
    geom = spec.body(m.body(m.geom_bodyid[like]).name).add_geom(name=name)
    geom.type = TYPES[primitive.kind]
    geom.size = np.resize(np.append(primitive.size, [0.0, 0.0]), 3)
    geom.pos, geom.quat = primitive.pos, primitive.quat
    geom.group, geom.mass = COLLISION_GROUP, 0.0
    geom.rgba = [0.55, 0.7, 0.9, 0.6]
    for field in CONTACT:
        setattr(geom, field, getattr(m, f"geom_{field}")[like])


def _drawn_by_another(m: mujoco.MjModel, g: int) -> bool:
    """Returns whether a geom that does not collide shows the same mesh at the same place."""
    return any(
        other != g
        and m.geom_type[other] == mujoco.mjtGeom.mjGEOM_MESH
        and m.geom_bodyid[other] == m.geom_bodyid[g]
        and m.geom_dataid[other] == m.geom_dataid[g]
        and m.geom_group[other] <= DRAWN
        and not (m.geom_contype[other] or m.geom_conaffinity[other])
        and np.allclose(m.geom_pos[other], m.geom_pos[g], atol=1e-6)
        for other in range(m.ngeom)
    )


def _referenced(spec: mujoco.MjSpec) -> set[str]:
    """Returns the names of geoms that pairs and sensors speak of."""
    pairs = {name for pair in spec.pairs for name in (pair.geomname1, pair.geomname2)}
    sensors = {name for sensor in spec.sensors for name in (sensor.objname, sensor.refname)}
    return (pairs | sensors) - {""}


def _vertices(m: mujoco.MjModel, g: int) -> np.ndarray:
    """Returns the vertices (V, 3) of a geom's mesh in the geom's frame [m]."""
    mesh = m.geom_dataid[g]
    first = m.mesh_vertadr[mesh]
    return np.asarray(m.mesh_vert[first : first + m.mesh_vertnum[mesh]], float)


def _placed(m: mujoco.MjModel, g: int, points: np.ndarray) -> np.ndarray:
    """Returns points (N, 3) of a geom's frame in that of its body."""
    turn = Rotation.from_quat(m.geom_quat[g], scalar_first=True)
    return np.asarray(turn.apply(points) + m.geom_pos[g])


def _moved(m: mujoco.MjModel, g: int, piece: Piece) -> Piece:
    """Returns a piece of a geom's frame in that of its body."""
    normals = Rotation.from_quat(m.geom_quat[g], scalar_first=True).apply(piece.planes[:, :3])
    offset = piece.planes[:, 3] + normals @ m.geom_pos[g]
    return Piece(
        _placed(m, g, piece.points),
        np.column_stack([normals, offset]),
        _placed(m, g, piece.triangles.reshape(-1, 3)).reshape(-1, 3, 3),
        piece.volume,
    )
