"""What integrators test with: the adapter conformance kit, and the parts fake servers are made of."""
