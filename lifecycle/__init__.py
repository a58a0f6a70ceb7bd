"""The steps of a release's life that need code: uninstalling, and the test of an installation.

The chart's hooks run them from the image (``python -m lifecycle``), and ``kubectl genie`` runs the
same code on a person's machine. So nothing here imports typer, rich or a server.

Pure:

    situation  what the API server's objects say of Genie's nodes and of the pods that need it
    removal    what keeps a node from losing Genie, and what a node still has to do
    trial      the pods that test an installation, and what is expected of each

With effects passed in:

    uninstall  the steps of an uninstall: check, disable, remove, and back on a refusal
    attach     the test of an installation: creates the pods of ``trial``, and reports on each

    cluster    reads the situation from the API server, and writes the mode
    __main__   ``python -m lifecycle``: the command of the chart's hooks
"""
