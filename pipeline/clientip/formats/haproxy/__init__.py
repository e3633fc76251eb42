"""HAProxy: `log-format` patterns."""
