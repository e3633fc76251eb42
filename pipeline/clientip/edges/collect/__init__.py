"""The collector of NAT events."""
