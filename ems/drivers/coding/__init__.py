"""What registers mean: one codec per point, arrays, and blocks that are read together."""
