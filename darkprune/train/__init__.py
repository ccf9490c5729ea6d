"""Training of Darknet pairs: from scratch, with sparsity, and after pruning. What computes needs torch."""
