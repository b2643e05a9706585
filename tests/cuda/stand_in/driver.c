/* The few calls of CUDA's driver library that torch makes beside the runtime. */
#define _GNU_SOURCE
#include <dlfcn.h>

/* Whether this process has opened a GPU, as the runtime counts it. */
int cuDevicePrimaryCtxGetState(int gpu, unsigned *flags, int *active) {
    int (*is_open)(int) = (int (*)(int))dlsym(RTLD_DEFAULT, "stand_in_is_open");
    *flags = 0;
    *active = is_open ? is_open(gpu) : 1;
    return 0;
}
int cuInit(unsigned flags) { return 0; }
int cuGetErrorString(int error, const char **text) { *text = "an error of the stand-in"; return 0; }
int cuGetErrorName(int error, const char **name) { *name = "STAND_IN"; return 0; }
int cuCtxGetCurrent(void **context) { *context = (void *)8; return 0; }
int cuCtxSetCurrent(void *context) { return 0; }
int cuDevicePrimaryCtxRetain(void **context, int gpu) { *context = (void *)8; return 0; }
int cuDevicePrimaryCtxRelease(int gpu) { return 0; }
int cuCtxFromGreenCtx(void **context, void *green) { *context = (void *)8; return 0; }
