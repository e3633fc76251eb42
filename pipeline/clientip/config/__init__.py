"""TOML to `Settings`, every fault at once; what is legal and yet dangerous."""
