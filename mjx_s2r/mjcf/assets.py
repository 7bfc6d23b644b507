"""Files of a model written beside it anew: decimated meshes, and textures copied as they are."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from mjx_s2r.mjcf.decimate import DrawnMesh, decimate_within
from mjx_s2r.sim.backends.physics_config import ModelError

MANY = 1000  # faces of a mesh that would better be fewer


@dataclass(frozen=True)
class MeshChange:
    """A mesh before and after.

    Attributes:
        name: of the asset.
        file: written, relative to the model.
        faces: before.
        faces_left: after.
        error_mm: distance of the two surfaces [mm].
        textured: whether texture coordinates were kept.
    """

    name: str
    file: str
    faces: int
    faces_left: int
    error_mm: float
    textured: bool

    @property
    def whole(self) -> bool:
        """Whether many faces stayed because nothing smaller was near enough."""
        return self.faces_left == self.faces > MANY


def write_meshes(
    spec: mujoco.MjSpec, m: mujoco.MjModel, folder: Path, error: float, tell: Callable[[str], None]
) -> list[MeshChange]:
    """Writes the meshes that are drawn to ``folder``/meshes, decimated; drops the others.

    Binary STL, and OBJ where a texture is laid on the mesh. Units are metres and scales are 1.

    Args:
        spec: its mesh assets are replaced.
        m: what the original compiles to.
        folder: of the new model.
        error: how far a drawn surface may be from the original [m].
        tell: is told what is being decimated.
    """
    used = {geom.meshname for geom in spec.geoms if geom.type in _MESHED}
    textured = _textured(spec)
    out = []
    (folder / "meshes").mkdir(exist_ok=True)
    for asset in list(spec.meshes):
        name, smooth = asset.name, asset.smoothnormal
        if name not in used:
            spec.delete(asset)
            continue
        if asset.plugin.active:
            raise ModelError(
                f"mesh {name!r} comes from a plugin, which cannot be written to a file; write it "
                "to an STL yourself, and name that"
            )
        tell(name)
        whole = _original(m, m.mesh(name).id, name in textured)
        mesh, off = decimate_within(whole, error)
        file = f"meshes/{name.replace('/', '_')}.{'stl' if mesh.uv is None else 'obj'}"
        (_write_stl if mesh.uv is None else _write_obj)(folder / file, mesh)
        spec.delete(asset)
        spec.add_mesh(
            name=name,
            file=file,
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
            smoothnormal=smooth,
        )
        out.append(
            MeshChange(
                name, file, len(whole.faces), len(mesh.faces), 1e3 * off, mesh.uv is not None
            )
        )
    return out


def copy_files(spec: mujoco.MjSpec, origin: Path, folder: Path) -> list[str]:
    """Copies textures, height fields and skins to ``folder``; returns their new places.

    Args:
        spec: names the new places afterwards.
        origin: folder of the original model.
        folder: of the new one.

    Raises:
        ModelError: a file is nowhere.
    """
    out = []
    for kind in ("textures", "hfields", "skins"):
        for asset in getattr(spec, kind):
            if asset.file:
                asset.file = _copy(spec, asset, asset.file, kind, origin, folder)
                out.append(asset.file)
            cube = list(getattr(asset, "cubefiles", ()))
            for i, file in enumerate(cube):
                if file:
                    asset.cubefiles[i] = _copy(spec, asset, file, kind, origin, folder)
                    out.append(asset.cubefiles[i])
    spec.meshdir = spec.texturedir = spec.compiler.meshdir = spec.compiler.texturedir = ""
    return out


def _copy(spec: mujoco.MjSpec, asset: Any, file: str, kind: str, origin: Path, folder: Path) -> str:
    """Copies one file; returns its place, another one where a file of that name differs."""
    compiler = getattr(asset, "compiler", None) or spec.compiler
    inside = compiler.texturedir if kind == "textures" else compiler.meshdir
    places = [
        origin / (inside or "") / file,
        origin / file,
        origin / (inside or "") / Path(file).name,
    ]
    source = next((place for place in places if place.is_file()), None)
    if source is None:
        raise ModelError(f"there is no file {places[0]}, which the model names; put it there")
    target = folder / kind / source.name
    copies = 1
    while target.exists() and target.read_bytes() != source.read_bytes():
        copies += 1
        target = folder / kind / f"{source.stem}_{copies}{source.suffix}"
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(source, target)
    return str(target.relative_to(folder))


_MESHED = (mujoco.mjtGeom.mjGEOM_MESH, mujoco.mjtGeom.mjGEOM_SDF)


def _textured(spec: mujoco.MjSpec) -> set[str]:
    """Returns the meshes that a geom shows with a textured material."""
    painted = {one.name for one in spec.materials if any(one.textures)}
    return {geom.meshname for geom in spec.geoms if geom.meshname and geom.material in painted}


def _original(m: mujoco.MjModel, mesh: int, textured: bool) -> DrawnMesh:
    """Returns a mesh as its file has it, scaled; the compiler moved it to its inertia's frame."""
    first, count = m.mesh_vertadr[mesh], m.mesh_vertnum[mesh]
    turn = Rotation.from_quat(m.mesh_quat[mesh], scalar_first=True)
    vertices = turn.apply(np.asarray(m.mesh_vert[first : first + count], float)) + m.mesh_pos[mesh]
    at, faces = m.mesh_faceadr[mesh], m.mesh_facenum[mesh]
    triangles = np.asarray(m.mesh_face[at : at + faces], np.int64)
    uv = None
    if textured and m.mesh_texcoordadr[mesh] >= 0:
        start = m.mesh_texcoordadr[mesh]
        uv = np.asarray(m.mesh_texcoord[start + m.mesh_facetexcoord[at : at + faces]], float)
    return DrawnMesh(vertices, triangles, uv)


def _write_stl(path: Path, mesh: DrawnMesh) -> None:
    whole = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    path.write_bytes(trimesh.exchange.stl.export_stl(whole))


def _write_obj(path: Path, mesh: DrawnMesh) -> None:
    """Writes vertices, texture coordinates and faces; MuJoCo's reader turns v upside down."""
    assert mesh.uv is not None
    uv, label = np.unique(mesh.uv.reshape(-1, 2).round(7), axis=0, return_inverse=True)
    lines = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in mesh.vertices]
    lines += [f"vt {u:.7g} {1 - v:.7g}" for u, v in uv]
    for face, at in zip(mesh.faces + 1, label.reshape(-1, 3) + 1, strict=True):
        lines.append("f " + " ".join(f"{v}/{t}" for v, t in zip(face, at, strict=True)))
    path.write_text("\n".join(lines) + "\n")
