"""The loop: train, sparsify, (prune, recalibrate, fine-tune) x k, report; from one small config file."""
