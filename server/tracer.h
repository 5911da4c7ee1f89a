#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/clock.h"
#include "server/mutex.h"

namespace vitower {

// What the threads of the server do, for a person to look at: spans that are kept while somebody records, in the JSON
// trace event format that Perfetto and chrome://tracing open. Off, a span costs one atomic load. Thread-safe.
class Tracer final {
 public:
  static constexpr size_t kMostEvents = 100'000;  // of one recording; what comes later is not kept

  explicit Tracer(Clock& clock) : clock_(clock) {}

  bool on() const { return on_.load(std::memory_order_relaxed); }

  // What a span belongs to; 0: to none.
  struct Ids {
    uint64_t item = 0;
    uint64_t batch = 0;
    int64_t patches = 0;
  };
  // A thing this thread did. `name` must be a literal.
  void Span(const char* name, TimePoint begin, TimePoint end, Ids ids);
  // A time in which something waited, or was done elsewhere: not on a thread's lane, where it might overlap.
  void Wait(const char* name, TimePoint begin, TimePoint end, uint64_t item);

  // Numbers that no other batch or item has.
  uint64_t NextNumber() { return next_number_.fetch_add(1, std::memory_order_relaxed); }

  // Records for so long, or until Stop, and returns the JSON, which is made while the others work on. Blocks.
  // FAILED_PRECONDITION while another does.
  absl::StatusOr<std::string> Record(std::chrono::nanoseconds duration);
  // Ends a recording, and lets none begin.
  void Stop();

 private:
  struct Event {
    const char* name = nullptr;
    TimePoint begin;
    TimePoint end;
    int thread = 0;  // 0: a wait
    Ids ids;
  };
  struct Recording {
    TimePoint began_at;
    std::vector<Event> events;
    std::map<int, std::string> threads;  // their names
  };

  void Add(Event event);
  absl::StatusOr<Recording> Collect(std::chrono::nanoseconds duration);
  static std::string Json(const Recording& recording);

  Clock& clock_;
  std::atomic<bool> on_{false};
  std::atomic<uint64_t> next_number_{1};

  Mutex mu_;
  CondVar changed_;
  bool busy_ ABSL_GUARDED_BY(mu_) = false;  // with a recording, until its JSON is made
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  Recording recording_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vitower
