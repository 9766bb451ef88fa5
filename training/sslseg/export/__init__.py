"""Segmentations leave the cohort: for Slicer, as label maps, as DICOM."""
