module kube-ovn/cni

go 1.21
