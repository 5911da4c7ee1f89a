#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "cli/bench_samples.h"
#include "server/mutex.h"

namespace vitower {

// How one item went.
struct BenchOutcome {
  std::chrono::steady_clock::time_point begun;  // when it was to go
  std::chrono::steady_clock::time_point ended;
  size_t part = 0;  // of the mix
  absl::Status status;
  int64_t sent_bytes = 0;
  int64_t received_bytes = 0;
  int64_t patches = 0;
  int64_t batch_items = 0;
  std::vector<std::pair<std::string, double>> stage_seconds;
};

// What is counted of each second of a run, warm-up included.
struct BenchSecond {
  int64_t ok = 0;
  int64_t ok_patches = 0;  // of those
  int64_t refused = 0;     // RESOURCE_EXHAUSTED
  int64_t failed = 0;      // any other code
};

// What a run came to. Counts and bytes are of items that ended within the window, latencies and stages of items that
// began within it, however long they took.
struct BenchTotals {
  double began_at = 0;  // where the timeline begins, in seconds since 1970
  double window_seconds = 0;
  int64_t items = 0;  // answered well
  int64_t patches = 0;
  int64_t sent_bytes = 0;
  int64_t received_bytes = 0;
  Samples latency;                                            // of items answered well
  Samples refusal_latency;                                    // of RESOURCE_EXHAUSTED
  std::vector<Samples> part_latency;                          // of items answered well, by part of the mix
  Samples batch_items;                                        // items that shared a forward pass, as each item saw it
  std::map<std::string, int64_t> errors;                      // by code; of the whole run, warm-up included
  std::map<std::string, std::string> error_texts;             // the first message of each code
  std::vector<std::pair<std::string, double>> stage_seconds;  // sums, in the order of the stages
  std::vector<BenchSecond> timeline;
};

// Takes the outcomes of a run. Thread-safe.
class BenchRecorder final {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // Measured is [window_begin, window_end); `start` is where the timeline begins, now or a moment ago.
  BenchRecorder(size_t parts, TimePoint start, TimePoint window_begin, TimePoint window_end);

  void Add(const BenchOutcome& outcome);

  struct Progress {
    int64_t items = 0;
    int64_t errors = 0;
  };
  Progress progress() const;

  // What there is. `stopped_at`: where the run ended before window_end.
  BenchTotals Take(TimePoint stopped_at);

 private:
  void AddError(const BenchOutcome& outcome) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AddToTimeline(const BenchOutcome& outcome) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AddLatency(const BenchOutcome& outcome) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const TimePoint start_;
  const TimePoint window_begin_;
  const TimePoint window_end_;

  mutable Mutex mu_;
  Progress progress_ ABSL_GUARDED_BY(mu_);
  BenchTotals totals_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vitower
