"""What Slicer and the backend agree on: the cohort folder, its labels, jobs, events and settings.

Standard library only: this is the one part of the backend that runs inside Slicer.
"""
