"""The Docker Engine API over HTTP: a translation between requests and the engine, no behaviour."""
