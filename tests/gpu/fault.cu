// A library for LD_PRELOAD that makes a device of the process fail on demand, from within the process and by CUDA's own
// means, for devices.py: the server knows nothing of it. Once the file named by FAULT_FILE appears it reads it, removes
// it and does what it says, and then waits for the next:
//   stall DEVICE SECONDS   a kernel that fills the device and ends after so long
//   fill DEVICE            all its free memory is taken for ever
//   break DEVICE           a kernel that writes where nothing is: CUDA fails from then on, on all devices of the
//   process
#include <cuda_runtime.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

namespace {

__global__ void Spin(long long nanoseconds) {
  long long begin = 0;
  long long now = 0;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(begin));
  do {
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  } while (now - begin < nanoseconds);
}

__global__ void WriteNowhere() { *reinterpret_cast<volatile int*>(16) = 1; }

void Stall(int device, double seconds) {
  cudaDeviceProp properties;
  cudaStream_t stream = nullptr;
  cudaSetDevice(device);
  cudaGetDeviceProperties(&properties, device);
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  Spin<<<2 * properties.multiProcessorCount, 1024, 0, stream>>>(static_cast<long long>(seconds * 1e9));
}

void Fill(int device) {
  cudaSetDevice(device);
  for (size_t bytes = size_t{1} << 30; bytes >= size_t{1} << 20; bytes /= 2) {
    void* block = nullptr;
    while (cudaMalloc(&block, bytes) == cudaSuccess) {
    }
    cudaGetLastError();
  }
}

void Break(int device) {
  cudaStream_t stream = nullptr;
  cudaSetDevice(device);
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  WriteNowhere<<<1, 1, 0, stream>>>();
}

void Watch(const char* path) {
  for (;; usleep(20'000)) {
    std::FILE* file = std::fopen(path, "r");
    if (file == nullptr) continue;
    char what = 0;
    int device = 0;
    double seconds = 0;
    const int read = std::fscanf(file, "%c%*s %d %lf", &what, &device, &seconds);
    std::fclose(file);
    std::remove(path);
    if (read == 3 && what == 's') Stall(device, seconds);
    if (read >= 2 && what == 'f') Fill(device);
    if (read >= 2 && what == 'b') Break(device);
  }
}

struct Start {
  Start() {
    const char* path = std::getenv("FAULT_FILE");
    if (path == nullptr) return;
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are the program's
    std::thread(Watch, path).detach();
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
} start;

}  // namespace
