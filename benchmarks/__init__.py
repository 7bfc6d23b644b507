"""Benchmarks: cases as data; speed, memory, compile time and one figure of correctness for each."""
