# How PyCUDA is compiled: it reads this file as ~/.aksetup-defaults.py or /etc/aksetup-defaults.py. All that it needs is
# cuda.h, cudaProfiler.h and a libcuda.so to link with: no nvcc, and no cuRAND, which tlee does not use.
import os

CUDA_ROOT = os.environ.get("CUDA_ROOT", "/usr/local/cuda")
CUDA_INC_DIR = [CUDA_ROOT + "/include"]
CUDA_ENABLE_CURAND = False
CUDADRV_LIB_DIR = [CUDA_ROOT + "/lib64/stubs", "/usr/lib/aarch64-linux-gnu/tegra"]
