"""The camera: a batched ray caster in plain JAX, with a different look in every world.

camera (what is drawn, from where) -> raycast (visibility, shadow) -> shade -> photometry -> uint8;
appearance holds the per-world look that the "visual" rows of the parameter table touch.
"""
