"""PyCUDA's double: `pycuda.driver` as far as an inference runner needs it. Source: PyCUDA 2022.1's device reference."""

VERSION = (2022, 1)
VERSION_TEXT = "2022.1"
