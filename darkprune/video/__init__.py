"""Videos and cameras: sources, GStreamer pipelines, capture, the loop through a detector, and what it shows."""
