// private header
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <utility>

namespace vitower {

// Work captured once from a stream, to be launched again and again. Throws CudaError.
class Graph final {
 public:
  // `enqueue` puts work on `stream`, asynchronously and without allocating.
  Graph(cudaStream_t stream, const std::function<void()>& enqueue);
  Graph(Graph&& other) noexcept : executable_(std::exchange(other.executable_, nullptr)) {}
  Graph& operator=(Graph&&) = delete;
  ~Graph();

  void Launch(cudaStream_t stream) const;

 private:
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace vitower
