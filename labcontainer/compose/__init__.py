"""Compose: a file of services, and the containers, networks and volumes that it asks for."""
