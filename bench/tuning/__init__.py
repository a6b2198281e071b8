"""Learning rates and hyper-parameters: chosen on validation data, at the same cost for every objective."""
