"""Timed runs of one workload on several subjects, side by side, with honest statistics."""
