"""Layer types: one file each, which holds all that the package knows of that type."""
