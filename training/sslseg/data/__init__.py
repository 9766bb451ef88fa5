"""Volumes and label maps: from the files of a cohort to the batches of a training run."""
