"""The run browser: one self-contained page over folders of runs."""
