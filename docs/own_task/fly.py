"""Runs an exported pendulum policy on plain MuJoCo: python -m docs.own_task.fly policy.onnx.

This is all that a robot needs: readings by name, `assemble`, the policy, `next_command`.
"""

import sys

import mujoco
import numpy as np

from docs.own_task.pendulum import XML
from mjx_s2r.contract import assemble, next_command
from mjx_s2r.robot.policy import Actor, Policy


def fly(policy: Actor, seconds: float = 5.0) -> float:
    """Returns how long the pole stood upright, s, in an episode that begins hanging down."""
    model = mujoco.MjModel.from_xml_string(XML)
    data, contract = mujoco.MjData(model), policy.contract
    data.qpos[0] = np.pi
    substeps = round(1 / (contract.control_hz * model.opt.timestep))
    command, upright = np.zeros(1, np.float32), 0
    for _ in range(round(seconds * contract.control_hz)):
        angle = np.array([np.cos(data.qpos[0]), np.sin(data.qpos[0])])
        obs = assemble(np, contract, {"angle": angle, "speed": data.qvel})
        command = next_command(np, contract.action, command, policy.act(obs, {}))
        data.ctrl[:] = command
        mujoco.mj_step(model, data, substeps)
        upright += np.cos(data.qpos[0]) > 0.95
    return float(upright / contract.control_hz)


if __name__ == "__main__":
    print(f"upright for {fly(Policy.load(sys.argv[1])):.2f} s of 5 s")
