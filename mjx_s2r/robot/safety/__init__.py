"""The guard between a policy and a robot: rules on readings, limits on commands, causes by name."""

from mjx_s2r.robot.safety.causes import CAUSES as CAUSES
from mjx_s2r.robot.safety.causes import Cause as Cause
from mjx_s2r.robot.safety.causes import Event as Event
from mjx_s2r.robot.safety.causes import Mode as Mode
from mjx_s2r.robot.safety.config import SafetyConfig as SafetyConfig
from mjx_s2r.robot.safety.guard import Decision as Decision
from mjx_s2r.robot.safety.guard import Guard as Guard
from mjx_s2r.robot.safety.guard import GuardState as GuardState
from mjx_s2r.robot.safety.guard import Inspection as Inspection
from mjx_s2r.robot.safety.history import History as History
