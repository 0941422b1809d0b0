"""The version of labcontainer: read here by the command lines and by the build."""

VERSION = "0.1.0"
