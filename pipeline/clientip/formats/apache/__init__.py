"""Apache `LogFormat` patterns, and Varnish, which writes them too."""
