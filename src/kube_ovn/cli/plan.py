"""`kubectl ko plan`: what the controller would change now. Reads Kubernetes and the Northbound database, writes nothing."""
