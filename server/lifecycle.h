#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "server/admission.h"
#include "server/call.h"
#include "server/clock.h"
#include "server/metrics.h"
#include "server/mutex.h"
#include "server/state.h"

namespace vitower {

// What stays inside for long and ends only when it is told that the server drains.
class Drainable {
 public:
  virtual void OnDrain() = 0;  // once, on the draining thread, without a lock

 protected:
  ~Drainable() = default;
};

// The state of a server and what is inside it, calls (each item of a stream is one) and streams: what makes a drain
// lose nothing. Either enters only while the state, looked at under the same lock, is kServing; so after
// Advance(kDraining), which tells the streams, both sets can only shrink. Thread-safe.
class Lifecycle final {
 public:
  Lifecycle(Metrics& metrics, Clock& clock);

  // Called after each change of the state, on the thread that made it, without a lock; what it reads may be newer.
  // Before the first change.
  void SetListener(std::function<void()> on_change) { on_change_ = std::move(on_change); }

  // As it is shown: kDraining from AnnounceDrain on.
  State state() const;
  // False where a restart is what is left to do: no device has worked for two minutes.
  bool Alive() const;

  // Shows the drain that is about to begin, and goes on serving until `until`. Blocks; does nothing unless it serves.
  void AnnounceDrain(TimePoint until);
  // False, and nothing happens, where `to` is not later than the present state.
  bool Advance(State to);

  // From kServing to kStuck and back; without effect in another state, and where the warm-up failed.
  void SetStuck(bool stuck);

  // kStuck for good, unless it serves or drains by now. WaitUntilServing tells why.
  void FailWarmUp(absl::Status why);
  absl::Status WaitUntilServing();

  // UNAVAILABLE where the server is not serving: for a look before the work that Enter needs.
  std::optional<Refusal> Closed() const;
  // The same, decided under the lock. What entered must leave.
  std::optional<Refusal> Enter(const std::shared_ptr<Call>& call);
  void Leave(const Call& call);

  std::optional<Refusal> EnterStream(const std::shared_ptr<Drainable>& stream);
  void LeaveStream(const Drainable& stream);

  // Blocks until everything has left, at most until `deadline`; returns how many calls and streams have not.
  size_t WaitForCalls(TimePoint deadline);
  // Completes the calls that are inside: what they miss is answered with UNAVAILABLE. Returns how many missed anything;
  // the others' replies are on their way.
  size_t AbortCalls();

 private:
  std::optional<Refusal> ClosedNow() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  size_t Inside() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return calls_.size() + streams_.size(); }

  Metrics& metrics_;
  Clock& clock_;
  std::function<void()> on_change_ = [] {};

  mutable Mutex mu_;
  CondVar changed_;
  State state_ ABSL_GUARDED_BY(mu_) = State::kStarting;
  bool leaving_ ABSL_GUARDED_BY(mu_) = false;  // the drain is announced
  TimePoint stuck_since_ ABSL_GUARDED_BY(mu_);
  absl::Status warm_up_ ABSL_GUARDED_BY(mu_);
  std::map<const Call*, std::shared_ptr<Call>> calls_ ABSL_GUARDED_BY(mu_);
  std::map<const Drainable*, std::shared_ptr<Drainable>> streams_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vitower
