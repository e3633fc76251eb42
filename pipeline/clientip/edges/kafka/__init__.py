"""How a cluster is reached: clients, group members, transactions, topics."""
