"""What a run achieved, for a clinician's eyes: overlays, curves, tables, and one HTML file with them all.

The report knows nothing of training: it draws what `sslseg.report.content` describes.
"""
