"""Services across several daemons: one manager that keeps them as they were asked for."""
