"""Text for a terminal: one lazily imported module a group of commands."""
