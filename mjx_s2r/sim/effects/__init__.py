"""Actuator, sensor and world effects that the physics engine does not model."""
