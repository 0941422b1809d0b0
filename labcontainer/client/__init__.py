"""The Engine API from Python: what the command line, Compose and the notebooks speak."""
