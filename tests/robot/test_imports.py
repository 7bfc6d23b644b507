"""The robot side runs where jax was never installed."""

import subprocess
import sys

import pytest

SCRIPT = """
import importlib, sys

class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is not on this machine")

sys.meta_path.insert(0, Wall())
for name in {modules!r}:
    importlib.import_module(name)
"""
MODULES = (
    "mjx_s2r.robot",
    *(f"mjx_s2r.robot.{m}" for m in ("clock", "controller", "driver", "log", "policy", "safety")),
    "mjx_s2r.robot.drivers",
    "mjx_s2r.robot.drivers.imperfections",
)
TRAINING = ("jax", "jaxlib", "flax", "brax", "optax", "orbax", "jax2onnx", "onnx", "scipy")


@pytest.mark.parametrize(
    ("modules", "blocked"),
    [
        (MODULES, (*TRAINING, "mujoco")),
        (
            ("mjx_s2r.robot.log", "mjx_s2r.robot.safety"),
            (*TRAINING, "mujoco", "onnxruntime"),
        ),
        (("mjx_s2r.robot.drivers.sim_robot",), (*TRAINING, "onnxruntime")),
    ],
)
def test_import_without(modules: tuple[str, ...], blocked: tuple[str, ...]) -> None:
    script = SCRIPT.format(modules=modules, blocked=blocked)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_wall_blocks() -> None:
    script = SCRIPT.format(modules=("jax",), blocked=("jax",))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "jax is not on this machine" in done.stderr
