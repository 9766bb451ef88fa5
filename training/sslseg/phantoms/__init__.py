"""Synthetic torso CT with organs of known shape, made without any patient: for the demo, tests and benchmarks."""
