"""The other backend where it cannot run: clear errors; and where it can: the same arrays."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from mjx_s2r.contract import CameraSignal, PolicyContract
from mjx_s2r.params import ParamSpace
from mjx_s2r.render import warp_camera
from mjx_s2r.render.cameras import bind_cameras
from mjx_s2r.render.geometry.scene import SceneError, build_scene
from mjx_s2r.render.looks.assets import RenderConfig
from mjx_s2r.render.raycast import render
from tests.render.scenes import FEW, load, look_of, pose_of
from tests.robot.fakes import contract_for


def _runs() -> bool:
    """Returns whether this machine can draw with Warp."""
    try:
        warp_camera.require_warp_renderer()
    except SceneError:
        return False
    return True


def _contract() -> PolicyContract:
    """Returns a contract with the scene's camera."""
    return replace(contract_for(), cameras=(CameraSignal("front", 16, 16, 10.0),))


@pytest.mark.skipif(_runs(), reason="Warp runs here")
def test_a_machine_without_warp_says_what_to_do() -> None:
    model, _ = load(FEW)
    with pytest.raises(SceneError, match=r"backend 'warp'.*use render\.backend jax"):
        bind_cameras(ParamSpace(()), model, _contract(), RenderConfig(backend="warp"))


def test_rows_that_warp_cannot_follow_are_named() -> None:
    warp_camera.refuse_unsupported({"geom_rgb", "light_dir"}, "front")
    with pytest.raises(SceneError, match=r"camera 'front': no 'light_softness' per world"):
        warp_camera.refuse_unsupported({"geom_rgb", "light_softness"}, "front")


@pytest.mark.skipif(not _runs(), reason="the package warp-lang is not installed")
def test_both_backends_see_the_same() -> None:
    model, data = load(FEW)
    scene = build_scene(model, "front", 64, 64)
    pose, look = pose_of(scene, data, 2), look_of(model, 2)
    ours = render(scene, pose, look, outputs=("rgb", "depth", "segmentation"))
    theirs = jax.jit(warp_camera.WarpCamera(model, scene).render)(pose, look)
    same = np.asarray(ours.segmentation) == np.asarray(theirs.segmentation)
    assert same.mean() > 0.98
    seen = same & (np.asarray(ours.segmentation) >= 0)
    far = np.abs(np.asarray(ours.depth) - np.asarray(theirs.depth))[seen]
    assert np.quantile(far, 0.99) < 0.01
    assert ours.rgb is not None
    assert theirs.rgb is not None
    assert np.abs(np.asarray(ours.rgb, int) - np.asarray(theirs.rgb, int)).mean() < 25
