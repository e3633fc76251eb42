"""nginx: `log_format` patterns."""
