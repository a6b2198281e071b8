"""Runs on disk and the tables that are made of them. Never loads torch."""
