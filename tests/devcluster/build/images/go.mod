module cluster.test/images

go 1.24
