"""The same methods on networks: FlowOptimizer, ensembles of networks, and the papers' training parts."""
