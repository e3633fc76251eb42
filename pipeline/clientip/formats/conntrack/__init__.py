"""NAT events: `conntrack` text and XML, the collector's lines, ulogd2."""
