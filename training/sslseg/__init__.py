"""Semi-supervised multi-organ segmentation of CT and MR volumes: the backend of SSLSegmentation."""

__version__ = "0.1.0"
