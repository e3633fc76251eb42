"""A server's format string to a matcher, and from there to the columns of an observation."""
