// private header
#pragma once

#include <cuda_runtime_api.h>

#include "model/cuda/cuda_check.h"

namespace vitower {

// A point in a stream that can be waited for. Throws CudaError.
class CudaEvent final {
 public:
  CudaEvent() { CheckCuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreate"); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  ~CudaEvent() { (void)cudaEventDestroy(event_); }

  void Record(cudaStream_t stream) { CheckCuda(cudaEventRecord(event_, stream), "cudaEventRecord"); }
  // What is enqueued from now on waits for what was recorded last; for nothing if nothing was.
  void HoldBack(cudaStream_t stream) const { CheckCuda(cudaStreamWaitEvent(stream, event_, 0), "cudaStreamWaitEvent"); }
  bool Reached() const {
    const cudaError_t state = cudaEventQuery(event_);
    if (state != cudaErrorNotReady) CheckCuda(state, "forward pass");
    return state == cudaSuccess;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace vitower
