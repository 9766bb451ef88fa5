"""Prediction of the cases of a cohort, and of volumes outside any cohort."""
