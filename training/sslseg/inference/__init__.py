"""Prediction of one volume: sliding window, and the way back to the original grid."""
