"""Files, compression, parts, spilled blocks."""
