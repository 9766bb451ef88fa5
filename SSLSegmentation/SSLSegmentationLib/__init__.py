"""The Slicer module SSLSegmentation: `logic` without widgets, and `widgets` on top of it.

Of the backend, only `sslseg.contract` is imported in Slicer's process; all else runs in another process.
"""

from SSLSegmentationLib.logic.Paths import ensureContract

ensureContract()
