"""Robots and stand-ins behind the `mjx_s2r.robot.driver.Driver` interface, one file each."""
