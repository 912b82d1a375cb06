"""Running programs that a model wrote, none of which is trusted: they get an input and leave plain data behind."""
