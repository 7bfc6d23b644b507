"""The simulator: parameters into MJX model leaves, physics, actuators, sensors, reset and step."""
