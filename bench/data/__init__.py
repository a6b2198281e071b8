"""Building blocks of data sets: mixtures, images, readers of files, scales."""
