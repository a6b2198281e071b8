"""Suites: their files, what a file may say, and the runs that they stand for."""
