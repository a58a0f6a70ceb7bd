"""The really built plugin as a process, with real CNI plugins, in network namespaces (root)."""
