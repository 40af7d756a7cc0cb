"""Training TLEE by the published stages, from video files."""
