"""How good a prediction is likely to be: what is measured of it, what is expected, and what a person should look at."""
