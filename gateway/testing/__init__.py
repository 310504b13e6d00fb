"""What integrators test with: the parts that fake servers are made of."""
