"""Which case to annotate or to look at next."""
