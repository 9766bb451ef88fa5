"""Experiments that can be repeated: the accuracy of methods on a data set with few labels."""
