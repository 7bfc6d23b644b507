"""Where a camera is, how it sees and what light it sees, from pictures in known poses."""
