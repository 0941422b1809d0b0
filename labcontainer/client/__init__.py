"""The Docker Engine API from Python: what the command line speaks to a daemon."""
