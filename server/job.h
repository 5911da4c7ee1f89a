#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "model/encoder.h"
#include "preprocess/frames.h"
#include "server/admission.h"
#include "server/call.h"
#include "server/clock.h"
#include "server/plan.h"
#include "server/stage.h"

namespace vitower {

class CacheClaim;

// What a clip's result says about its frames: see v1::Result.
struct ClipFacts {
  std::vector<int64_t> frame_indices;
  std::optional<double> source_fps;
  std::vector<double> slice_timestamps;
  bool padded = false;
};

// What the tower is given of an item. Shared with a pass, which may outlast the job where the device hangs.
using JobInput = std::variant<Frames, PatchRows>;

inline TowerInput Borrow(const JobInput& input) {
  return std::visit([](const auto& one) { return TowerInput(&one); }, input);
}

// A forward pass and who shared it: kept until the last of its items has its rows.
struct ForwardResult {
  EncodedBatch batch;
  OutputSet computed;
  int64_t items = 0;
  int64_t patches = 0;
  TimePoint downloaded_at;
};

// One item on its way: a unique_ptr moved permit -> preprocess -> batcher -> worker -> reply. It has one owner at a
// time, who must answer it; answering consumes it. The destructor answers with INTERNAL, so that no path can lose an
// item without its client hearing of it. Not thread-safe.
class Job final {
 public:
  Job(std::shared_ptr<Call> call, size_t index, ItemPlan item_plan);
  ~Job();
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  Call& call() const { return *call_; }
  int64_t patches() const { return plan.grid.patches(); }
  // Why work on this item would be in vain, if it would.
  std::optional<Fault> Gone(TimePoint now) const { return call_->Gone(now); }
  v1::Item& item() { return call_->item(index_); }
  v1::Item TakeItem() { return call_->TakeItem(index_); }

  ItemPlan plan;  // set anew by preprocessing where it was an estimate
  StageTimes times;
  PermitShare permit;
  std::shared_ptr<const JobInput> input;         // set by preprocessing, freed after the forward pass
  std::optional<ClipFacts> clip;                 // likewise, of a clip only; kept
  TimePoint ready_at;                            // for a batch, or for the answer of another
  uint64_t number = 0;                           // in traces
  int lost_devices = 0;                          // that took the item and did not give it back
  std::shared_ptr<const ForwardResult> forward;  // set by the worker
  std::optional<Fault> dropped;                  // why there is none
  std::unique_ptr<CacheClaim> cache_claim;       // where others may wait for this one's answer
  size_t batch_index = 0;                        // in `forward`

 private:
  friend void Answer(std::unique_ptr<Job> job, ItemAnswer answer);

  std::shared_ptr<Call> call_;  // empty once answered
  const size_t index_;
};

void Answer(std::unique_ptr<Job> job, ItemAnswer answer);
void Fail(std::unique_ptr<Job> job, const absl::Status& status, TimePoint now);

using Jobs = std::vector<std::unique_ptr<Job>>;

}  // namespace vitower
