"""Preprocessed volumes on disk, read patch by patch.

A volume lies in blocks of 16^3 voxels, each contiguous, so that a patch reads little more than its own bytes. Reads
go through plain file reads, not memory maps: resident memory stays flat however many cases there are, and a file
that vanishes or shrinks is an error instead of a crash.
"""
