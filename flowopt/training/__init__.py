"""Networks: the same methods as optimizers of PyTorch models, alone or many at once, and the papers' training parts."""
