"""A container engine in Python, small enough to read in a course and real enough to use."""
