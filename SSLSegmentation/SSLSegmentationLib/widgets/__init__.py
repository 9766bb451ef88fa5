"""What a person sees: one panel a file, each on top of `logic`."""
