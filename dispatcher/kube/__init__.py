"""What the services share: API client, watch cache, settings, logs and metrics.

Never imported by the plugin. The only place in the tree that knows the Kubernetes client
library is :mod:`dispatcher.kube.client`.
"""
