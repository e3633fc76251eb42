"""`python -m clientip` is the command `clientip`."""

from __future__ import annotations

from clientip.edges.cli.main import main

if __name__ == "__main__":  # a spawned worker imports this file again, under another name
    main()
