"""What every other package may use: errors, files, statistics, identities. Never loads torch."""
