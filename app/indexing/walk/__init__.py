"""The batched Markov chain over index assignments: its loop, and one step of it in three kernels."""
