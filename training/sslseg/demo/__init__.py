"""A cohort that needs no patient: CT-like phantoms, and the demonstration that runs on them."""
