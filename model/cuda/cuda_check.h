// private header
#pragma once

#include <cuda_runtime_api.h>

#include <new>
#include <stdexcept>
#include <string>

namespace vitower {

// A fault of the device or of one of its libraries. Thrown inside this folder, a status outside it.
class CudaError final : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws std::bad_alloc where memory ran out, else CudaError.
inline void CheckCuda(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  if (error == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    throw std::bad_alloc();
  }
  throw CudaError(std::string(what) + ": " + cudaGetErrorString(error));
}

}  // namespace vitower
