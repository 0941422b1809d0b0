"""The bytes of an image: today base file systems made from the host's own files."""
