"""A throw-away real Kubernetes on one machine, for the tests, the demo and for trying things out.

`python -m tests.cluster --help` is the tool; `tests.cluster.cluster.Cluster` is the same for tests.
README.md in this folder tells how it works.
"""
