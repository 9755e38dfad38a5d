"""The whole service under mixed load for half an hour, while models are swapped and processes are killed."""
