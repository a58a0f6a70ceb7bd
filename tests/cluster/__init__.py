"""Tests on a real Kubernetes, and in ``support/`` what they share."""
