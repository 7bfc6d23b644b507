"""Shading: visibility, lights and shadows, materials and textures."""
