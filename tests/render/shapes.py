"""Meshes built from vertices, and mj_ray in the frame of one geom as the oracle."""

import mujoco
import numpy as np

from tests.render.scenes import load

GOLDEN = (1 + 5**0.5) / 2
SIGNS = [(a, b) for a in (-1, 1) for b in (-1, 1)]
CUBE = np.array([[a, b, c] for a, b in SIGNS for c in (-1, 1)], float) * (0.3, 0.4, 0.2)
OCTAHEDRON = np.concatenate([np.eye(3), -np.eye(3)]) * (0.3, 0.4, 0.5)
ICOSAHEDRON = 0.25 * np.concatenate(
    [np.roll([[0, a, b * GOLDEN] for a, b in SIGNS], k, axis=1) for k in range(3)]
)
PRISM = np.array(
    [
        [0.3 * np.cos(a), 0.3 * np.sin(a), z]
        for a in 2 * np.pi * np.arange(7) / 7
        for z in (-0.3, 0.3)
    ]
)
CONVEX = {"cube": CUBE, "octahedron": OCTAHEDRON, "icosahedron": ICOSAHEDRON, "prism": PRISM}

Mesh = tuple[np.ndarray, np.ndarray]  # vertices (V, 3) [m] and faces (F, 3)


def ring(around: int, across: int) -> Mesh:
    """Returns a torus of radii 0.35 and 0.12 m."""
    a, b = np.meshgrid(np.arange(around), np.arange(across), indexing="ij")
    u, v = 2 * np.pi * a / around, 2 * np.pi * b / across
    far = 0.35 + 0.12 * np.cos(v)
    points = np.stack([far * np.cos(u), far * np.sin(u), 0.12 * np.sin(v)], axis=2)
    on, up = (a + 1) % around, (b + 1) % across
    low, right, left, high = (i * across + j for i, j in ((a, b), (on, b), (a, up), (on, up)))
    faces = [[low, right, high], [low, high, left]]
    return points.reshape(-1, 3), np.moveaxis(np.array(faces), 1, -1).reshape(-1, 3)


def ell() -> Mesh:
    """Returns an L, 0.6 m long and 0.2 m thick."""
    outline = np.array([[0, 0], [6, 0], [6, 2], [2, 2], [2, 6], [0, 6]]) / 10 - 0.2
    points = np.concatenate([np.insert(outline, 2, z, axis=1) for z in (-0.1, 0.1)])
    top = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5]])
    ends = [(i, (i + 1) % 6) for i in range(6)]
    sides = [[[i, j, j + 6], [i, j + 6, i + 6]] for i, j in ends]
    return points, np.concatenate([top[:, ::-1], top + 6, np.array(sides).reshape(-1, 3)])


ROUGH = {"torus": ring(14, 9), "ell": ell()}


def mesh_xml(vertices: np.ndarray, faces: np.ndarray | None = None, **attributes: str) -> str:
    """Returns a model of one mesh called "shape", turned and moved; its hull without faces."""
    face = "" if faces is None else f'face="{" ".join(map(str, faces.ravel()))}"'
    more = " ".join(f'{k}="{v}"' for k, v in attributes.items())
    vertex = " ".join(map(repr, vertices.astype(float).ravel().tolist()))
    return (
        f'<mujoco><asset><mesh name="shape" vertex="{vertex}" {face} {more}/></asset><worldbody>'
        '<geom type="mesh" mesh="shape" pos=".3 -.2 .1" quat=".5 .3 -.6 .2"/>'
        "</worldbody></mujoco>"
    )


def load_mesh(
    vertices: np.ndarray, faces: np.ndarray | None = None
) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """Returns model and data of one mesh."""
    return load(mesh_xml(vertices, faces))


def aimed(rng: np.random.Generator, count: int, eye: np.ndarray) -> np.ndarray:
    """Returns rays (count, 3) from an eye (3,) to points within half a metre of the origin."""
    return (rng.uniform(-0.5, 0.5, (count, 3)) - eye).astype(np.float32)


def cast(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    eyes: np.ndarray,
    rays: np.ndarray,
    *,
    fronts: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns t (N,), -1 for none, and normals (N, 3) by mj_ray, in the frame of geom 0.

    With ``fronts`` a surface seen from behind is passed through.
    """
    mat, pos = data.geom_xmat[0].reshape(3, 3), data.geom_xpos[0]
    depth, normals, found = np.zeros(len(rays)), np.zeros((len(rays), 3)), np.zeros(1, np.int32)
    for i, ray in enumerate(rays):
        start, way, t = mat @ eyes[i] + pos, mat @ ray, 0.0
        while True:
            step = mujoco.mj_ray(
                model, data, start + t * way, way, None, True, -1, found, normals[i]
            )
            t = -1.0 if step < 0 else t + step
            if t < 0 or not fronts or normals[i] @ way < 0:
                break
            t += 1e-7
        depth[i] = t
    return depth, normals @ mat
