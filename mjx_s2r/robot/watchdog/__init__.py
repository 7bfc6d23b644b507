"""The watchdog: a process of its own between a controller and a robot, which stops the robot."""
