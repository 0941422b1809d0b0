"""From a Dockerfile to an image: parsed, drawn as a graph of stages, built, and remembered."""
