"""What `check` holds a plug-in to."""
