"""Speed and memory beside peers, on the same input, in the same process tree, by turns."""
