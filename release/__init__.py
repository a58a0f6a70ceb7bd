"""``make release``: build everything that a release consists of, into ``dist/``.

    project   the version, and the commit that is built
    archives  tar files that depend on their content only
    image     the container image as an OCI archive
    chart     the Helm chart, and the one-file installation rendered from it
    client    ``kubectl genie``: the wheel and the zipapp with its dependencies
    preamble  what the zipapp checks before it starts
    krew      the plugin's archive and manifest for krew
    lockfile  the packages that a lock file names
    sbom      the list of these packages, in the format CycloneDX
    notes     the release notes, cut from CHANGELOG.md
    sums      SHA256SUMS
    site      a hook of mkdocs: which version the pages of docs/ describe
    __main__  ``python -m release``

Rules: each artifact depends on the commit, the lock files and the base image only, so that anyone
can build it again and compare. Nothing is published from here; RELEASING.md has those steps.

It is a top-level package, since it is part of neither product nor tests: it builds with the tools
of ``tests/devcluster``, and no other package imports it.
"""
