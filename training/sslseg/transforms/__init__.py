"""Batched tensor operations on patches: geometry and intensity."""
