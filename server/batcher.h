#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "server/clock.h"
#include "server/job.h"
#include "server/mutex.h"

namespace vitower {

// The one queue between preprocessing and the devices. A worker that can take work pulls a batch of at most `budget`
// patches; nobody pushes and, unless max_delay is set, nothing waits for company: while devices are busy the next batch
// fills by itself.
//
// Order: by virtual time, the moment of Submit plus a penalty (high 0 s, normal 1 s, low 10 s). It is a total order in
// which a job only ever moves forward: once it has waited for its penalty, nothing that comes later is before it.
// A batch is the first job, whatever its size (one above the budget so runs alone), then every later job that still
// fits, looking past those that do not. The first is always taken, so nobody starves behind smaller ones.
//
// Bound: with Q patches admitted at most, budget B, a forward pass of at most F and N workers, a job waits no longer
// than max_delay + penalty + (2 Q / (B N) + 2) F. (A job passed over for lack of room heads the next batch or is in it,
// so two batches in a row hold more than B of what was before us; one pass may be running when we come.) Where workers
// share a device, F is the time of a pass with what it waits for those of the others.
//
// Jobs whose client is gone or whose deadline has passed are handed to `drop` when a pull meets them.
// Thread-safe. Pull blocks until there is work; `drop` is called on the pulling thread, which may have work for its
// device: it must be quick. Without a lock.
// Not for work that has to keep its order: larger jobs are overtaken.
class Batcher final {
 public:
  struct Options {
    int64_t budget_patches = 0;             // what max_delay waits for
    std::chrono::nanoseconds max_delay{0};  // how long the first job waits for the budget to fill
    std::function<void(std::unique_ptr<Job>, Fault)> drop;
  };

  Batcher(Options options, Clock& clock);

  // Takes the job and sets ready_at. Or says why not, and leaves the job with the caller: kAbandoned where it is
  // stopped, kNoDevice where it is closed. A job that a device has lost keeps its place in the order.
  [[nodiscard]] std::optional<Fault> Submit(std::unique_ptr<Job>& job);

  // While no device works nothing waits: hands out all there is, and refuses until Open.
  Jobs Close();
  void Open();

  // Empty once stopped and nothing is left.
  Jobs Pull(int64_t budget_patches);

  // Submit refuses from now on; Pull hands out what is left, then returns empty. Idempotent.
  void Stop();
  // True once stopped; false at `deadline`.
  bool AwaitStop(TimePoint deadline);

 private:
  using Key = std::pair<TimePoint, uint64_t>;  // virtual time, then order of arrival
  using Queue = std::map<Key, std::unique_ptr<Job>>;
  struct Picked {
    Jobs jobs;
    std::vector<std::pair<std::unique_ptr<Job>, Fault>> dropped;
  };

  void WaitForWork() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  TimePoint OldestArrival() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Picked Pick(int64_t budget_patches) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::unique_ptr<Job> Take(Queue::iterator& at) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  Clock& clock_;

  Mutex mu_;
  CondVar changed_;
  Queue queue_ ABSL_GUARDED_BY(mu_);
  uint64_t next_number_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t queued_patches_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace vitower
