"""A training run: from a cohort and settings to a model folder."""
