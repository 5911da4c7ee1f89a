// private header
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>

#include "model/cuda/activations.h"
#include "model/cuda/batch_plan.h"
#include "model/cuda/device_weights.h"
#include "model/cuda/gemm.h"
#include "model/cuda/pass_slot.h"
#include "model/encoder.h"

namespace vitower {

// A batch on its way through the tower: its plan, and the memory that its rows lie in. Blocks and mergers read of the
// plan only `rows`, `attention` and `tile_rows`, unless the attention is libtorch's: so a graph, whose tile_rows follow
// from its rows, may stand for any plan of these.
struct Pass {
  const BatchPlan* plan;
  MetaLayout meta;
  Activations* memory;
  PassSlot* slot = nullptr;  // none where a graph is captured

  int64_t rows() const { return plan->rows; }
};

// Enqueues the tower's parts on a stream, in terms of our kernels and Linears. Asynchronous; allocates nothing unless
// the attention is libtorch's. Not thread-safe. Throws CudaError.
class TowerPasses final {
 public:
  struct Options {
    Element element;
    int device;
    cudaStream_t stream;
  };
  // All but `options` must outlive it.
  TowerPasses(const EncoderInfo& info, const DeviceWeights& weights, Gemm& gemm, const Options& options);

  void Patchify(const Pass& pass, const uint8_t* bytes) const;  // `bytes`: the uploaded items
  void PatchEmbed(const Pass& pass) const;
  void Position(const Pass& pass) const;
  void Block(const Pass& pass, int64_t index) const;
  void Merger(const Pass& pass, size_t output) const;  // 0: the tokens; i + 1: DeepStack level i

 private:
  struct TileAttention {
    decltype(&LaunchTileAttention) launch;
    int32_t blocks;
  };
  void Norm(const DeviceNorm& norm, const void* x, void* out, int64_t rows) const;
  void Linear(const DeviceLinear& linear, const void* x, void* y, int64_t rows, Epilogue epilogue) const;
  void Attend(const Pass& pass, const DeviceLinear& proj) const;
  DeviceItems ItemsOf(const Pass& pass) const;

  const EncoderInfo& info_;
  const DeviceWeights& weights_;
  Gemm& gemm_;
  const Options options_;
  DeviceBuffer frequencies_;                         // [head_dim / 4] fp32
  std::map<int32_t, TileAttention> tile_attention_;  // by tile_rows
};

}  // namespace vitower
