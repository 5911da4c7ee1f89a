#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "model/encoder.h"
#include "server/batcher.h"
#include "server/clock.h"
#include "server/job.h"
#include "server/metrics.h"

namespace vitower {

// One device: a thread that owns an encoder, warms it up with a batch that fills the budget, reports how that went,
// then pulls batches until the batcher stops. A pass that fails or throws fails the items of that batch only. The
// destructor joins, so it blocks for as long as a running pass; stop the batcher first.
class Worker final {
 public:
  struct Parts {
    Batcher& batcher;
    Metrics& metrics;
    Clock& clock;
    int64_t budget_patches = 0;
    std::function<void(absl::Status)> on_warm;          // once, on the worker's thread
    std::function<void(std::unique_ptr<Job>)> on_done;  // a job whose rows are in job->forward
  };

  Worker(std::unique_ptr<Encoder> encoder, Parts parts);

 private:
  void Run();
  void RunBatch(std::vector<std::unique_ptr<Job>> jobs);
  absl::StatusOr<std::shared_ptr<const ForwardResult>> Forward(const std::vector<std::unique_ptr<Job>>& jobs);
  void FailAll(std::vector<std::unique_ptr<Job>> jobs, const absl::Status& why);

  const std::unique_ptr<Encoder> encoder_;
  const Parts parts_;
  std::jthread thread_;  // last: it uses all of the above
};

// Synthetic images that fill `budget_patches` as a full batch does: what an encoder is warmed up with.
std::vector<Frames> WarmUpFrames(const TowerConfig& tower, int64_t budget_patches);

}  // namespace vitower
