"""Side-by-side measurements: what people run today against ours, on the same machine in one run."""
