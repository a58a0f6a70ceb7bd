"""The networks of a cluster: between the nodes, on each node, and the rest of the world."""
