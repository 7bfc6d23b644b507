"""The toy arm with motors that have inertia, so that its servos do not ring from step to step."""

from dataclasses import dataclass, field

import mujoco

from tests.eval.toy_task import XML, ToyArm

CALM = XML.replace('damping="0.1"', 'damping="0.1" armature="0.02"')


@dataclass(frozen=True)
class CalmArm(ToyArm):
    """See `ToyArm`."""

    mj_model: mujoco.MjModel = field(default_factory=lambda: mujoco.MjModel.from_xml_string(CALM))
