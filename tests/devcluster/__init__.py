"""A throw-away real Kubernetes on one machine, for the tests, the demo and for trying things out.

`python -m tests.devcluster --help` is the tool; `tests.devcluster.cluster.Cluster` is the same for
tests. README.md in this folder tells how it works.

- ``build/``: programs from pinned Go modules, images, the product's own image; all cached
- ``network/``: the bridge that joins the nodes, the networks of a node, products of other projects
- ``node/``: containerd, kubelet and kube-proxy of one node
"""
