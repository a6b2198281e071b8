"""What `new` writes: an objective, a data set and a suite that work as they are, to be changed line by line."""
