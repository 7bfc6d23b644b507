"""Physics engines: MJX on JAX and MuJoCo Warp."""
