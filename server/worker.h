#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "model/encoder.h"
#include "server/batcher.h"
#include "server/clock.h"
#include "server/device_budget.h"
#include "server/metrics.h"
#include "server/pass.h"
#include "server/pass_desk.h"
#include "server/tracer.h"

namespace vitower {

// One device: a thread that owns an encoder, warms it up with a batch that fills the budget, reports how that went,
// then pulls batches until the batcher stops. Whatever goes wrong is narrowed down to the item or to the device:
//
// - A pass that fails is split in halves, and these again, until the culprit is alone: it is refused, the others are
//   embedded. With n items and k culprits that takes at most 1 + 2 k log2(n) more passes, and never more than 64:
//   what is not found out by then is refused with the culprits.
// - Before the first split the device runs a picture of its own. Where that fails too the device is down: all its items
//   go to `on_lost`, and it tries itself every second until it works again.
// - Out of memory: the budget is smaller for a while (DeviceBudget) and the batch split; an item that does not fit
//   alone is refused with RESOURCE_EXHAUSTED, if the device still has the memory for a picture of its own: else it is
//   down.
// - A pass that outlasts its limit is stuck: the watchdog hands its items and those that wait behind it to `on_stuck`.
//   When it returns after all, the device tries itself and comes back. The limit grows with the work of a pass beyond
//   that of a full budget.
// - A warm-up that outlasts its own limit, ten minutes or `stall_timeout` where that is longer, is told of as failed.
//
// The destructor joins, so it blocks for as long as a running pass; stop the batcher first.
class Worker final {
 public:
  struct Parts {
    Batcher& batcher;
    Metrics& metrics;
    Tracer& tracer;
    Clock& clock;
    size_t index = 0;  // among the workers
    int64_t budget_patches = 0;
    std::chrono::nanoseconds stall_timeout{0};  // of a full budget; 0: ten times the warm-up, at least a minute
    std::function<void(absl::Status)> on_warm;  // once, on the worker's thread, or the watchdog's where it hangs
    std::function<void(Jobs)> on_done;          // jobs whose rows are in job->forward; on the worker's thread
    // The device is down, and why: it fails, on the worker's thread; it hangs, on the watchdog's.
    std::function<void(Jobs, absl::Status)> on_lost;
    std::function<void(Jobs, absl::Status)> on_stuck;
    std::function<void()> on_back;  // it works again
  };

  Worker(std::unique_ptr<Encoder> encoder, Parts parts);

 private:
  void Run();
  void WarmUpFirst();
  void RunBatch(Jobs jobs);
  void RunPart(Jobs part);
  void TracePass(const Jobs& part, const ForwardTimes& times, TimePoint started_at) const;
  void Finish(Jobs part, std::shared_ptr<const ForwardResult> forward);
  void Isolate(Jobs part, const absl::Status& why);
  void Refuse(std::unique_ptr<Job> job, const absl::Status& why);
  void OnStall(Jobs jobs, std::chrono::nanoseconds limit);
  absl::Status TryDevice();
  void Revive();
  std::chrono::nanoseconds LimitOf(const Jobs& part) const;
  void ShowBudget();

  const std::unique_ptr<Encoder> encoder_;
  const std::string device_;
  const Parts parts_;

  // The worker thread's own.
  std::chrono::nanoseconds full_limit_{0};
  DeviceBudget budget_;
  int splits_ = 0;       // of the present batch
  bool proven_ = false;  // the device ran something since the batch was begun
  bool lost_ = false;    // and gave its jobs away
  bool warming_ = true;  // changed while no pass runs: the watchdog reads it while one does

  PassDesk desk_;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace vitower
