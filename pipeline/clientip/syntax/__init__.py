"""Text and bytes of standards to values: addresses, times, headers, ids, PROXY. Decides nothing."""
