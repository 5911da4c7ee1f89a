// private header
#pragma once

#include <cuda_runtime_api.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "model/cuda/activations.h"
#include "model/cuda/cuda_tower.h"
#include "model/cuda/device_memory.h"
#include "model/cuda/device_weights.h"
#include "model/cuda/gemm.h"
#include "model/cuda/graph.h"
#include "model/cuda/pieces.h"
#include "model/cuda/stage_marks.h"
#include "model/cuda/tower_passes.h"

namespace vitower {

// A tower on one device: all that lives there, and how a batch goes through it. Everything happens on the thread that
// constructs it. Throws CudaError, std::bad_alloc or what libtorch throws.
class CudaRunner final {
 public:
  // Loads and warms up. `info` must outlive it; its weight_bytes are filled in.
  CudaRunner(TowerSource source, EncoderInfo& info, const CudaTowerOptions& options);
  ~CudaRunner();
  CudaRunner(const CudaRunner&) = delete;
  CudaRunner& operator=(const CudaRunner&) = delete;

  // REQUIRES: items fit the tower. Blocks until the outputs are in host memory.
  EncodedBatch Run(absl::Span<const TowerInput> items, const OutputSet& wanted);

 private:
  struct Streams {
    Streams();
    ~Streams();
    cudaStream_t compute = nullptr;
    cudaStream_t download = nullptr;
  };

  void CaptureGraphs();
  void RefuseOverflow();
  void Upload(absl::Span<const TowerInput> items, const Pass& pass);
  void Embed(const Pass& pass);
  void RunPiece(const Pass& pass, size_t index);
  void EnqueuePiece(const Pass& pass, const Piece& piece) const;
  HostTensor Download(const Pass& pass, const Piece& piece);
  void Observe(const std::string& stage, const void* values, int64_t rows, int64_t cols) const;
  void Log(const std::string& message) const;

  EncoderInfo& info_;
  const CudaTowerOptions options_;
  const Element element_;
  const BatchRules rules_;
  const std::vector<Piece> pieces_;
  Streams streams_;
  DeviceWeights weights_;
  Gemm gemm_;
  TowerPasses passes_;
  Activations graph_memory_;  // its addresses are in the graphs
  Activations eager_memory_;
  std::map<int64_t, std::vector<Graph>> graphs_;  // by rows; one for each piece
  PinnedBuffer staging_;
  DeviceBuffer uploaded_;
  PinnedPool replies_;
  StageMarks marks_;
  bool observing_ = false;          // not while it warms up
  std::vector<cudaEvent_t> ready_;  // one for each output
};

}  // namespace vitower
