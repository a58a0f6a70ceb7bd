"""Tests on a real Kubernetes. They need root.

What is where:

    support  builders, observers and helpers that several test modules use
"""
