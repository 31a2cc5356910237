"""The networks of each family, through PyTorch; the only modules here that load it."""
