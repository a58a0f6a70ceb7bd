"""One node of a cluster: its programs, their configuration and control groups."""
