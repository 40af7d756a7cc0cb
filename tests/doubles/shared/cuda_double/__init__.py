"""A CUDA device whose memory is host memory; PyCUDA's and cuda-python's doubles stand on it."""
