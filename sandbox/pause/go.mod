module kube-ovn-sandbox/pause

go 1.26.0
