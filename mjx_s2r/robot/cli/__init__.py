"""The command of the robot side, mjx-s2r-robot: one file per verb."""
