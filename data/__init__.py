"""Clips: video files and folders of pictures, read frame by frame, the same way on workstations and devices."""
