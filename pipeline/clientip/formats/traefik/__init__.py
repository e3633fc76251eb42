"""Traefik: JSON and CLF access logs."""
