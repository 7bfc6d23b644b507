"""The camera sensor: optics, photometry and depth noise."""
