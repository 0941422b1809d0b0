"""A kernel of one's own as an ordinary process, with the verbs of a container."""
