// private header
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "model/cuda/activations.h"
#include "model/cuda/cuda_tower.h"
#include "model/cuda/device_memory.h"
#include "model/cuda/device_weights.h"
#include "model/cuda/gemm.h"
#include "model/cuda/graph.h"
#include "model/cuda/lending.h"
#include "model/cuda/pass_slot.h"
#include "model/cuda/pieces.h"
#include "model/cuda/tower_passes.h"

namespace vitower {

// A tower on one device: all that lives there, and how a batch goes through it. A pass is staged on its caller's thread
// and stream, enqueued in one go behind the pass before it, and waited for by its caller. Thread-safe: kPassesInFlight
// callers are served at a time, others wait. Throws CudaError, std::bad_alloc or what libtorch throws; after a pass
// that does not end within a minute or two, CudaError for ever.
class CudaRunner final {
 public:
  static constexpr int kPassesInFlight = 2;

  // Loads and warms up. `info` must outlive it; its weight_bytes are filled in.
  CudaRunner(TowerSource source, EncoderInfo& info, const CudaTowerOptions& options);
  CudaRunner(const CudaRunner&) = delete;
  CudaRunner& operator=(const CudaRunner&) = delete;

  // REQUIRES: items fit the tower. Blocks until the outputs are in host memory.
  EncodedBatch Run(absl::Span<const TowerInput> items, const OutputSet& wanted);

 private:
  struct Streams {
    Streams();
    ~Streams();
    cudaStream_t upload = nullptr;
    cudaStream_t compute = nullptr;
    cudaStream_t download = nullptr;
  };

  void CaptureGraphs();
  void RefuseOverflow();
  void Stage(absl::Span<const TowerInput> items, const Pass& pass);
  void Enqueue(const Pass& pass, const OutputSet& wanted, EncodedBatch& batch);
  void TakeTurn(PassSlot& slot);
  void Embed(const Pass& pass);
  void RunPiece(const Pass& pass, size_t index);
  void EnqueuePiece(const Pass& pass, const Piece& piece) const;
  HostTensor Download(const Pass& pass, const Piece& piece);
  void Await(const Pass& pass);
  ForwardTimes TimesOf(const PassSlot& slot, PassSlot::TimePoint begin);
  void Abandon() const;
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
  PinnedPool replies_;
  bool observing_ = false;  // not while it warms up
  std::atomic<bool> stuck_{false};

  // What goes on the compute and download streams goes there under this lock, and so does the use of all that passes
  // share.
  std::mutex turn_;
  std::deque<CudaEvent> ready_;                                           // one for each output: it is computed
  std::deque<CudaEvent> downloaded_;                                      // and need not be kept any more
  const PassSlot* latest_ = nullptr;                                      // of the pass that was enqueued last
  std::optional<PassSlot::TimePoint> latest_end_{PassSlot::TimePoint()};  // of that pass, once its caller knows
  Lending<PassSlot> slots_{kPassesInFlight};
};

}  // namespace vitower
