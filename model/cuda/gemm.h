// private header
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <compare>
#include <cstdint>
#include <map>

#include "model/cuda/device_memory.h"
#include "model/cuda/device_weights.h"

struct cublasLtContext;

namespace vitower {

// What a GEMM adds to x * weight^T + bias.
enum class Epilogue : uint8_t { kBias, kBiasGelu, kBiasResidual };

// y [rows, out] = epilogue(x [rows, in]); kBiasResidual adds what y holds already.
struct GemmCall {
  const DeviceLinear* linear;
  const void* x;
  void* y;
  int64_t rows;
  Epilogue epilogue;
};

// The Linears of a tower through cuBLASLt, bias, tanh GELU and residual in the GEMM itself, fp32 accumulation (fp32
// without TF32; its GELU is a kernel of its own). The algorithm is the library's first for the rows, asked for once.
// Run is asynchronous and may be captured. Not thread-safe: one stream at a time. Throws CudaError.
class Gemm final {
 public:
  explicit Gemm(Element element);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  void Run(const GemmCall& call, cudaStream_t stream);

  // Asks the library for its choice for a Linear, and any of that shape, up to so many rows, so that Run never has to.
  void Prepare(const DeviceLinear& linear, Epilogue epilogue, int64_t largest_rows);

 private:
  struct Problem;
  struct Shape {
    int64_t rows;
    int64_t out;
    int64_t in;
    Epilogue epilogue;
    auto operator<=>(const Shape&) const = default;
  };
  using Algorithm = std::array<uint64_t, 8>;  // as the library encodes it

  const Algorithm& Choice(const Problem& problem, const GemmCall& call);

  const Element element_;
  cublasLtContext* handle_ = nullptr;
  DeviceBuffer workspace_;
  std::map<Shape, Algorithm> choices_;
};

}  // namespace vitower
