"""What makes a channel worth keeping: one criterion a file, each scores filters; channel sets combine them."""
