"""Mathematics that does not know of the benchmark: derivatives, randomness, quadrature, noising."""
