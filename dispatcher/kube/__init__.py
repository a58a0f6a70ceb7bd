"""Shared by the services: API client, informer cache, settings and logs.

    client      the API server: paths and JSON in, JSON or KubeError out
    login       finds the API server and logs in to it
    reflector   follows a collection by list and watch
    cache       the informer cache: a reflector that keeps the objects of one kind
    definition_reflector  follows NetworkAttachmentDefinitions, whose kind a cluster may lack
    lease       leader election: one replica holds a Lease
    backoff     the growing delay between retries
    json_patch  operations of a JSON patch
    lenient     reads objects whose values may have any type
    errors      the errors of client and settings, without their libraries
    settings    settings from command line, environment and file
    logs        structured logs
    build_info  the version that runs, and its metric

    removal_report  what the agent reports of a removal, as an annotation of its Node

Never imported by the plugin. The only module of the tree that imports the Kubernetes client
library is :mod:`dispatcher.kube.login`, and only for a kubeconfig.
"""
