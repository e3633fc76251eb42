"""One code, one size parameter: CLIENTIP_SIZE is 1 in `make test`, 100 in `make prove`."""

from __future__ import annotations

import os

SIZE = int(os.environ.get("CLIENTIP_SIZE", "1"))
EXAMPLES = 200 * SIZE
