"""Takes real memory of an NVIDIA GPU: --mib MiB at its start, --grow MiB more at the first /echo.

By the driver's own library (the CUDA driver API), so nothing has to be installed for it. Every
other route is ready.py's.
"""

import ctypes

import httpd
import ready

cuda = ctypes.CDLL("libcuda.so.1")
taken = []


def check(status: int) -> None:
    if status:
        raise SystemExit(f"CUDA error {status}")


def take(mib: int) -> None:
    """Threads answer requests, and a context is current to one thread only."""
    check(cuda.cuCtxSetCurrent(context))
    memory = ctypes.c_void_p()
    check(cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(mib << 20)))
    check(cuda.cuMemsetD8_v2(memory, ctypes.c_ubyte(1), ctypes.c_size_t(mib << 20)))
    taken.append(memory)


def answer(request: httpd.Request) -> httpd.Answer:
    if (request.method, request.path) == ("POST", "/echo") and options.grow and len(taken) == 1:
        take(options.grow)
    return ready.answer(request)


parser = httpd.options(__doc__)
parser.add_argument("--mib", type=int, default=1024)
parser.add_argument("--grow", type=int, default=0)
options = parser.parse_args()
device, context = ctypes.c_int(), ctypes.c_void_p()
check(cuda.cuInit(0))
check(cuda.cuDeviceGet(ctypes.byref(device), 0))
check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
take(options.mib)
httpd.serve(options.host, options.port, answer)
