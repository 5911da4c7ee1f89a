#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include "server/clock.h"
#include "server/mutex.h"
#include "server/pass.h"

namespace vitower {

// What one device has before it: the parts of a batch, of which one is in a pass and the others wait for theirs. Its
// worker puts parts and runs them; a watchdog thread of the desk's own sees a pass that lasts longer than it may, takes
// everything away and hands it to `on_stall`, so that no item waits for a device that hangs.
// Thread-safe, for one worker. End waits for an `on_stall` that is running. The destructor joins the watchdog.
class PassDesk final {
 public:
  // `limit` is what the pass was allowed.
  using OnStall = std::function<void(Jobs, std::chrono::nanoseconds limit)>;

  PassDesk(Clock& clock, OnStall on_stall);
  ~PassDesk();
  PassDesk(const PassDesk&) = delete;
  PassDesk& operator=(const PassDesk&) = delete;

  // The part that was put last runs first.
  void Put(Jobs part);
  // The next part, which has to be put back or begun; empty when none is left.
  Jobs Next();
  // Everything that waits.
  Jobs TakeAll();

  // A pass begins; without jobs where a device tries itself. REQUIRES: none runs.
  void Begin(Jobs part, std::chrono::nanoseconds limit);
  // Ends the pass and gives its part back; nothing where the pass came too late.
  std::optional<Jobs> End();

 private:
  void Watch();
  Jobs Everything() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Clock& clock_;
  const OnStall on_stall_;

  Mutex mu_;
  CondVar changed_;
  std::vector<Jobs> waiting_ ABSL_GUARDED_BY(mu_);
  Jobs running_ ABSL_GUARDED_BY(mu_);
  bool pass_ ABSL_GUARDED_BY(mu_) = false;
  bool stalled_ ABSL_GUARDED_BY(mu_) = false;
  bool handing_over_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::chrono::nanoseconds limit_ ABSL_GUARDED_BY(mu_){0};
  TimePoint due_ ABSL_GUARDED_BY(mu_);                          // when the pass stalls
  TimePoint looks_at_ ABSL_GUARDED_BY(mu_) = TimePoint::max();  // when the watchdog looks again by itself
  std::jthread watchdog_;                                       // last: it uses all of the above
};

}  // namespace vitower
