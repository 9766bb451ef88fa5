"""The commands of `sslseg` from Slicer without a window: `sslseg_batch.py` hands what was typed over to `Batch`.

Nothing in here shows a window or asks a question. Slicer opens the files that the backend does not read; everything
else, the grammar of the commands included, is the backend's.
"""
