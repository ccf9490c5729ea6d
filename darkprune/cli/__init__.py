"""The command line: one thin file per command; each parses, calls the library and prints."""
