"""The robot side: drivers, policy, safety, controller, clock and flight log. No jax here."""
