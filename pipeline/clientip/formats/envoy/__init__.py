"""Envoy: text and JSON access logs."""
