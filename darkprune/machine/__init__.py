"""What this machine has: readers, accelerators, cameras."""
