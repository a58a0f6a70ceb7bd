"""What the services share: API client, watch cache, settings and logs.

    client    the API server: paths and JSON in, JSON or KubeError out
    login     where the API server is, and how to log in to it
    cache     a list-and-watch cache of one kind of object
    backoff   the growing delay between retries
    errors    the errors of client and settings, for those who must stay small
    settings  settings from command line, environment and file
    json_patch  operations of a JSON patch
    logs      structured logs

Never imported by the plugin. The only module of the tree that imports the Kubernetes client
library is :mod:`dispatcher.kube.login`, and only for a kubeconfig.
"""
