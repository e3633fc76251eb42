"""Messages and envelopes to lines."""
