"""Flow records: IPFIX, NetObserv, Antrea, VPC flow logs."""
