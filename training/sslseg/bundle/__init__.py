"""The model folder: what training leaves and prediction takes."""
