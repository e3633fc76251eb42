"""A real Kubernetes in network namespaces: the recorder of kube-proxy's rules and the whole lab."""
