"""One container, as the OCI runtime specification describes it; knows nothing of images."""
