"""An observation to a resolution; `walk.py` is the security page."""
