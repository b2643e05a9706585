/* A CUDA runtime for a machine without a GPU, so that torch's real allocator, autograd, optimizers and graphs run.
 *
 * Device memory is memory of the host, copies copy, kernels and matrix products do nothing: numbers mean nothing, what
 * is asked of which device does. The environment says what the machine has:
 *
 *   STAND_IN_GPUS   how many GPUs (1)
 *   STAND_IN_MB     memory of each, "80000" or one number a GPU, "80000,2000"
 *   STAND_IN_MAJOR  major compute capability (9)
 *   STAND_IN_BROKEN the GPU on which every call fails
 *   STAND_IN_STATE  a file in which processes count their memory, so that each sees what others have taken
 *   STAND_IN_LOG    a file that gets a line for the first call of each kind by each process on each GPU
 */
#define _GNU_SOURCE
#include <driver_types.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef int error;
enum { OK = 0, OUT_OF_MEMORY = 2, NO_SUCH_DEVICE = 101, LAUNCH_FAILED = 719 };
enum { MOST_GPUS = 16, MOST_PROCESSES = 256, MOST_BLOCKS = 1 << 16 };
enum { MALLOC, PINNED, KERNEL, COPY, MEMORY_INFO, CURRENT };
static const char *const kinds[] = {"cudaMalloc", "pinned memory", "kernel", "copy", "cudaMemGetInfo", "cudaSetDevice"};

static __thread int current;
static unsigned touched[MOST_GPUS];

static int number(const char *name, int otherwise) {
    const char *value = getenv(name);
    return value && *value ? atoi(value) : otherwise;
}

static int gpus(void) { return number("STAND_IN_GPUS", 1); }
static error broken(void) { return current == number("STAND_IN_BROKEN", -1) ? LAUNCH_FAILED : OK; }

static void note(int kind) {
    if (current >= MOST_GPUS || touched[current] >> kind & 1) return;
    touched[current] |= 1u << kind;
    const char *path = getenv("STAND_IN_LOG");
    FILE *log = path ? fopen(path, "a") : NULL;
    if (!log) return;
    fprintf(log, "%d %d %s\n", getpid(), current, kinds[kind]);
    fclose(log);
}

/* How often the host has waited for a GPU. */
static unsigned long waits;
unsigned long stand_in_waits(void) { return waits; }
static error wait_for_gpu(void) { __sync_fetch_and_add(&waits, 1); return broken(); }

int stand_in_is_open(int gpu) { return touched[gpu] != 0; }

/* Memory: what each living process has taken of each GPU. */
struct taken { pid_t process; size_t bytes[MOST_GPUS]; };
static struct taken own_table[MOST_PROCESSES], *table, *own;
static struct block { void *start; size_t bytes; int gpu; } blocks[MOST_BLOCKS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static size_t total(int gpu) {
    const char *list = getenv("STAND_IN_MB");
    size_t megabytes = 80000;
    for (int place = 0; list && *list; place++) {
        megabytes = strtoull(list, (char **)&list, 10);
        if (place == gpu) break;
        if (*list) list++;
    }
    return megabytes << 20;
}

static void open_table(void) {
    if (own && own->process == getpid()) return;
    const char *path = getenv("STAND_IN_STATE");
    int file = path ? open(path, O_RDWR | O_CREAT, 0600) : -1;
    table = own_table;
    if (file >= 0 && !ftruncate(file, sizeof own_table)) {
        void *shared = mmap(NULL, sizeof own_table, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (shared != MAP_FAILED) table = shared;
    }
    if (file >= 0) close(file);
    for (own = table; own < table + MOST_PROCESSES - 1; own++) {
        pid_t before = own->process;
        int free_row = !before || (kill(before, 0) && before != getpid());
        if (free_row && __sync_bool_compare_and_swap(&own->process, before, getpid())) break;
    }
    memset(own->bytes, 0, sizeof own->bytes);
}

static size_t in_use(int gpu) {
    size_t bytes = 0;
    for (struct taken *row = table; row < table + MOST_PROCESSES; row++)
        if (row->process && !kill(row->process, 0)) bytes += row->bytes[gpu];
    return bytes;
}

error cudaMalloc(void **memory, size_t bytes) {
    note(MALLOC);
    if (broken()) return LAUNCH_FAILED;
    pthread_mutex_lock(&lock);
    open_table();
    error result = OUT_OF_MEMORY;
    *memory = NULL;
    for (int place = 0; in_use(current) + bytes <= total(current) && place < MOST_BLOCKS; place++) {
        if (blocks[place].start) continue;
        *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        blocks[place] = (struct block){*memory, bytes, current};
        own->bytes[current] += bytes;
        result = OK;
        break;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

error cudaFree(void *memory) {
    pthread_mutex_lock(&lock);
    for (int place = 0; memory && place < MOST_BLOCKS; place++) {
        if (blocks[place].start != memory) continue;
        own->bytes[blocks[place].gpu] -= blocks[place].bytes;
        munmap(memory, blocks[place].bytes);
        blocks[place].start = NULL;
        break;
    }
    pthread_mutex_unlock(&lock);
    return OK;
}

error cudaMemGetInfo(size_t *free_bytes, size_t *all) {
    note(MEMORY_INFO);
    if (broken()) return LAUNCH_FAILED;
    pthread_mutex_lock(&lock);
    open_table();
    *all = total(current);
    size_t used = in_use(current);
    *free_bytes = used < *all ? *all - used : 0;
    pthread_mutex_unlock(&lock);
    return OK;
}

error cudaHostAlloc(void **memory, size_t bytes, unsigned flags) {
    note(PINNED);
    return posix_memalign(memory, 512, bytes ? bytes : 512) ? OUT_OF_MEMORY : OK;
}
error cudaFreeHost(void *memory) { free(memory); return OK; }

/* Devices. */
error cudaGetDeviceCount(int *count) { *count = gpus(); return OK; }
error cudaGetDevice(int *gpu) { *gpu = current; return OK; }
error cudaSetDevice(int gpu) {
    if (gpu < 0 || gpu >= gpus()) return NO_SUCH_DEVICE;
    current = gpu;
    note(CURRENT);
    return OK;
}
error cudaDeviceSynchronize(void) { return wait_for_gpu(); }
error cudaDeviceCanAccessPeer(int *can, int gpu, int other) { *can = 0; return OK; }
error cudaDeviceGetStreamPriorityRange(int *least, int *greatest) { *least = 0; *greatest = -5; return OK; }
error cudaDriverGetVersion(int *version) { *version = 13000; return OK; }
error cudaRuntimeGetVersion(int *version) { *version = 13000; return OK; }
error cudaGetLastError(void) { return OK; }
error cudaPeekAtLastError(void) { return OK; }

error cudaGetDeviceProperties(struct cudaDeviceProp *about, int gpu) {
    memset(about, 0, sizeof *about);
    snprintf(about->name, sizeof about->name, "Stand-in GPU");
    about->uuid.bytes[15] = gpu;
    about->major = number("STAND_IN_MAJOR", 9);
    about->totalGlobalMem = total(gpu);
    about->multiProcessorCount = 132;
    about->warpSize = 32;
    about->maxThreadsPerBlock = about->maxThreadsDim[0] = about->maxThreadsDim[1] = 1024;
    about->maxThreadsDim[2] = 64;
    about->maxThreadsPerMultiProcessor = 2048;
    about->maxBlocksPerMultiProcessor = 32;
    about->sharedMemPerBlock = 49152;
    about->sharedMemPerBlockOptin = 232448;
    about->sharedMemPerMultiprocessor = 233472;
    about->regsPerBlock = about->regsPerMultiprocessor = 65536;
    about->maxGridSize[0] = 2147483647;
    about->maxGridSize[1] = about->maxGridSize[2] = 65535;
    about->memPitch = 1 << 30;
    about->memoryBusWidth = 5120;
    about->l2CacheSize = 52428800;
    about->textureAlignment = 512;
    return OK;
}

error cudaDeviceGetAttribute(int *value, int attribute, int gpu) {
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = 1024; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: case cudaDevAttrMaxSharedMemoryPerBlockOptin:
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = 49152; break;
    case cudaDevAttrWarpSize: *value = 32; break;
    case cudaDevAttrMultiProcessorCount: *value = 132; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = 2048; break;
    case cudaDevAttrComputeCapabilityMajor: *value = number("STAND_IN_MAJOR", 9); break;
    default: *value = 1;
    }
    return OK;
}

/* Copies do copy; kernels do nothing. */
error cudaMemcpy(void *to, const void *from, size_t bytes, int kind) { memcpy(to, from, bytes); return wait_for_gpu(); }
error cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, void *stream) {
    note(COPY);
    memcpy(to, from, bytes);
    return broken();
}
error cudaMemcpyPeerAsync(void *to, int a, const void *from, int b, size_t bytes, void *stream) {
    memcpy(to, from, bytes);
    return OK;
}
error cudaMemset(void *memory, int value, size_t bytes) { memset(memory, value, bytes); return broken(); }
error cudaMemsetAsync(void *memory, int value, size_t bytes, void *stream) { memset(memory, value, bytes); return broken(); }
error cudaLaunchKernel(const void *function, ...) { note(KERNEL); return broken(); }
error cudaLaunchKernelExC(const void *configuration, const void *function, void **arguments) { note(KERNEL); return broken(); }
error cudaFuncSetAttribute(const void *function, int attribute, int value) { return OK; }
error cudaFuncGetAttributes(struct cudaFuncAttributes *about, const void *function) {
    memset(about, 0, sizeof *about);
    about->maxThreadsPerBlock = 1024;
    about->numRegs = 32;
    about->binaryVersion = about->ptxVersion = 90;
    return OK;
}
error cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks_, const void *f, int b, size_t s, unsigned flags) {
    *blocks_ = 2;
    return OK;
}
error cudaPointerGetAttributes(struct cudaPointerAttributes *about, const void *memory) {
    memset(about, 0, sizeof *about);
    about->type = cudaMemoryTypeUnregistered;
    about->device = current;
    for (int place = 0; place < MOST_BLOCKS; place++) {
        const char *start = blocks[place].start;
        if (start && (const char *)memory >= start && (const char *)memory < start + blocks[place].bytes) {
            about->type = cudaMemoryTypeDevice;
            about->device = blocks[place].gpu;
        }
    }
    return OK;
}

/* Streams and events: all work is done as soon as it is asked for. */
error cudaStreamCreateWithFlags(void **stream, unsigned flags) { *stream = malloc(1); return broken(); }
error cudaStreamCreateWithPriority(void **stream, unsigned flags, int priority) { *stream = malloc(1); return broken(); }
error cudaStreamDestroy(void *stream) { free(stream); return OK; }
error cudaStreamQuery(void *stream) { return OK; }
error cudaStreamSynchronize(void *stream) { return wait_for_gpu(); }
error cudaStreamWaitEvent(void *stream, void *event, unsigned flags) { return OK; }
error cudaStreamGetPriority(void *stream, int *priority) { *priority = 0; return OK; }
error cudaEventCreate(void **event) { *event = malloc(1); return OK; }
error cudaEventCreateWithFlags(void **event, unsigned flags) { *event = malloc(1); return OK; }
error cudaEventDestroy(void *event) { free(event); return OK; }
error cudaEventRecord(void *event, void *stream) { return OK; }
error cudaEventRecordWithFlags(void *event, void *stream, unsigned flags) { return OK; }
error cudaEventQuery(void *event) { return OK; }
error cudaEventSynchronize(void *event) { return wait_for_gpu(); }
error cudaEventElapsedTime(float *milliseconds, void *from, void *to) { *milliseconds = 1; return OK; }

/* Graphs: a stream that is recorded says so; a graph that is launched does nothing. */
static __thread void *recorded;
static __thread unsigned long long records;
error cudaThreadExchangeStreamCaptureMode(int *mode) { return OK; }
error cudaStreamBeginCapture(void *stream, int mode) { recorded = stream; records++; return OK; }
error cudaStreamEndCapture(void *stream, void **graph) { recorded = NULL; *graph = malloc(1); return OK; }
error cudaStreamIsCapturing(void *stream, int *status) { *status = recorded && stream == recorded; return OK; }
error cudaStreamGetCaptureInfo(void *stream, int *status, unsigned long long *id, void **graph, void *dependencies,
                               void *edges, size_t *count) {
    *status = recorded && stream == recorded;
    if (id) *id = records;
    if (graph) *graph = recorded;
    if (count) *count = 0;
    return OK;
}
error cudaGraphGetNodes(void *graph, void *nodes, size_t *count) { *count = 1; return OK; }
error cudaGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) { *executable = malloc(1); return OK; }
error cudaGraphInstantiate(void **executable, void *graph, unsigned long long flags) { *executable = malloc(1); return OK; }
error cudaGraphLaunch(void *executable, void *stream) { note(KERNEL); return broken(); }
error cudaGraphExecDestroy(void *executable) { free(executable); return OK; }
error cudaGraphDestroy(void *graph) { free(graph); return OK; }

/* cuBLAS: products are not computed. */
#define NOTHING(name) error name(void *handle, ...) { return OK; }
#define MAKES(name) error name(void **made, ...) { *made = calloc(1, 256); return OK; }
MAKES(cublasCreate_v2) MAKES(cublasLtCreate) MAKES(cublasLtMatmulDescCreate) MAKES(cublasLtMatrixLayoutCreate)
MAKES(cublasLtMatmulPreferenceCreate)
NOTHING(cublasDestroy_v2) NOTHING(cublasSetStream_v2) NOTHING(cublasSetWorkspace_v2) NOTHING(cublasSetMathMode)
NOTHING(cublasSetPointerMode_v2) NOTHING(cublasSgemm_v2) NOTHING(cublasDgemm_v2) NOTHING(cublasGemmEx)
NOTHING(cublasSgemmEx) NOTHING(cublasGemmStridedBatchedEx) NOTHING(cublasSgemmStridedBatched) NOTHING(cublasSgemv_v2)
NOTHING(cublasSdot_v2) NOTHING(cublasLtDestroy) NOTHING(cublasLtMatmul) NOTHING(cublasLtMatmulDescSetAttribute)
NOTHING(cublasLtMatrixLayoutSetAttribute) NOTHING(cublasLtMatmulPreferenceSetAttribute)
NOTHING(cublasLtMatmulDescDestroy) NOTHING(cublasLtMatrixLayoutDestroy) NOTHING(cublasLtMatmulPreferenceDestroy)
error cublasGetMathMode(void *handle, int *mode) { *mode = 0; return OK; }
error cublasGetPointerMode_v2(void *handle, int *mode) { *mode = 0; return OK; }
error cublasLtMatmulAlgoGetHeuristic(void *handle, void *d, void *a, void *b, void *c, void *e, void *p, int wanted,
                                     void *found, int *count) {
    memset(found, 0, 96);
    *count = 1;
    return OK;
}
