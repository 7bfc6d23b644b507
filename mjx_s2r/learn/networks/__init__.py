"""Actor, critic and student networks, and the layers that they are made of."""
