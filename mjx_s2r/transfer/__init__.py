"""The way back: robot logs become better parameters, and a number for the gap that is left.

From a log to a posterior: `readers` (with `mapping`) -> `recording` -> `recording_checks` ->
`problem` (which rows) -> `windows` -> `simulator` -> `fit` -> `linearization` -> `inference` ->
`posterior`. `identify` does all of it; `excitation` plans the next motion.
"""
