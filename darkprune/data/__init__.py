"""Data sets as Darknet users have them: `.data` and `.names` files, lists of images, label files."""
