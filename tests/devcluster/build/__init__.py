"""Programs and images of a cluster, built once and cached.

What is where:

    programs      build everything that a cluster needs before it starts
    gobuild       programs from pinned Go modules
    images        the small images, which consist of one program each
    imagebuild    the project's image, from its Dockerfile
    imagecompare  build the project's image twice and compare the results
    oci           write an image archive
    pipconf       the machine's pip configuration, for builds inside images
    cache         folders named after a digest of their inputs
"""
