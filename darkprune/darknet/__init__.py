"""The two files, byte for byte: `.cfg` text and `.weights` floats."""
