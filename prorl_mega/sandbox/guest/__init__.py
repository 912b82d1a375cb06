"""The inside of a sandbox, in an interpreter of its own: the standard library and nothing else of the package."""
