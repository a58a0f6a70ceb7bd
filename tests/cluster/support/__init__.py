"""What several tests on a cluster share."""
