"""What training costs: measured step by step, and estimated before a run."""
