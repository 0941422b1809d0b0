"""A registry server: OCI distribution-spec 1.1 over the same blobs that the image store has."""
