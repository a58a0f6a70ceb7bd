"""Programs and images of a cluster, built once and cached."""
