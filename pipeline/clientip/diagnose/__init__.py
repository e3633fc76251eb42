"""A record or a question to an explanation; clock skew, sandbox, reverse lookup."""
