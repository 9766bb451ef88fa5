"""Annotating and training in turns, without anybody at the screen."""
