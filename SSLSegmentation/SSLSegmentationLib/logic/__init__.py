"""What the module does, without widgets: setup, cohort, open case, jobs."""
