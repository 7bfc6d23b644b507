"""Geometry of a scene: geoms, poses, rays, and where a ray meets a shape."""
