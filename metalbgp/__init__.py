"""metalbgp: a BGP-first load balancer for bare-metal Kubernetes."""
