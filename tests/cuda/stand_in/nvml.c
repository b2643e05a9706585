/* NVIDIA's management library for the GPUs of `runtime.c`: what pynvml asks for their names, use, power and energy.
 *
 *   STAND_IN_GPUS   how many GPUs (1)
 *   STAND_IN_BUSY   the share of time in which each computes, in percent, "60" or one number a GPU, "60,20" (0);
 *                   "-" for one that does not tell, as those that are divided into several
 *   STAND_IN_WATTS  what each draws, in the same form (100)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef int error;
typedef void *device;
enum { OK = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6 };
struct utilization { unsigned gpu, memory; };
struct memory { unsigned long long total, free, used; };

/* The number of a setting for one GPU: the last of fewer numbers holds for all that follow. */
static const char *text(const char *name, unsigned gpu) {
    const char *value = getenv(name);
    for (const char *next; value && gpu && (next = strchr(value, ',')); gpu--) value = next + 1;
    return value;
}
static unsigned setting(const char *name, unsigned gpu, unsigned otherwise) {
    const char *value = text(name, gpu);
    return value && *value ? atoi(value) : otherwise;
}

static unsigned gpus(void) { return setting("STAND_IN_GPUS", 0, 1); }
static unsigned gpu_of(device one) { return (unsigned)(size_t)one - 1; }
static error found(device *one, unsigned gpu) {
    *one = (device)(size_t)(gpu + 1);
    return gpu < gpus() ? OK : NOT_FOUND;
}

error nvmlInitWithFlags(unsigned flags) { return OK; }
error nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(error number) { return "an error of the stand-in"; }
error nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13000; return OK; }
error nvmlDeviceGetCount_v2(unsigned *count) { *count = gpus(); return OK; }
error nvmlDeviceGetHandleByIndex_v2(unsigned gpu, device *one) { return found(one, gpu); }

/* By the name that `runtime.c` gives each GPU, which ends with its number. */
error nvmlDeviceGetHandleByUUID(const char *uuid, device *one) {
    unsigned gpu;
    if (sscanf(uuid, "GPU-00000000-0000-0000-0000-%12x", &gpu) != 1) return INVALID_ARGUMENT;
    return found(one, gpu);
}

error nvmlDeviceGetName(device one, char *name, unsigned size) {
    snprintf(name, size, "Stand-in GPU");
    return OK;
}

error nvmlDeviceGetUtilizationRates(device one, struct utilization *rates) {
    const char *told = text("STAND_IN_BUSY", gpu_of(one));
    if (told && *told == '-') return NOT_SUPPORTED;
    rates->gpu = setting("STAND_IN_BUSY", gpu_of(one), 0);
    rates->memory = 0;
    return OK;
}

error nvmlDeviceGetMemoryInfo(device one, struct memory *bytes) {
    bytes->total = (unsigned long long)setting("STAND_IN_MB", gpu_of(one), 80000) << 20;
    bytes->used = bytes->total / 4;
    bytes->free = bytes->total - bytes->used;
    return OK;
}

/* Power in milliwatts. */
error nvmlDeviceGetPowerUsage(device one, unsigned *power) {
    *power = 1000 * setting("STAND_IN_WATTS", gpu_of(one), 100);
    return OK;
}
error nvmlDeviceGetEnforcedPowerLimit(device one, unsigned *power) { *power = 700000; return OK; }

/* Energy in millijoules since the machine was started. */
error nvmlDeviceGetTotalEnergyConsumption(device one, unsigned long long *energy) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *energy = setting("STAND_IN_WATTS", gpu_of(one), 100) * (1000ull * now.tv_sec + now.tv_nsec / 1000000);
    return OK;
}
