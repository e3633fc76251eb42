"""How fast clientip is, beside the same work in Vector's language and beside decoding and encoding alone."""
