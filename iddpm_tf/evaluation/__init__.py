"""How good samples are: distances and scores of features, all in NumPy float64."""
