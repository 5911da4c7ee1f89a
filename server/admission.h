#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "server/clock.h"
#include "server/mutex.h"
#include "server/room.h"
#include "server/status.h"

namespace vitower {

class Metrics;

// A call refused as a whole, before any work.
struct Refusal {
  Fault fault = Fault::kInternal;
  std::string message;
  std::chrono::milliseconds retry_after{200};  // of what passes: see IsPassing
};

// What a call will hold: its items' patches until they are answered, its bytes (request, decoded pictures and reply)
// until the reply is sent.
struct Need {
  int64_t items = 0;
  int64_t patches = 0;
  int64_t bytes = 0;
};

class Permit;
class PermitShare;

// The door: a call is admitted whole or refused at once, so that a full server says so before it works and its memory
// has a bound. Thread-safe, never blocks. Must outlive its permits.
class Admission final {
 public:
  struct Limits {
    int64_t queue_patches = 0;   // --max-queue-patches
    int64_t inflight_bytes = 0;  // --max-inflight-bytes
  };

  Admission(Limits limits, Metrics& metrics, Clock& clock)
      : metrics_(metrics), clock_(clock), patches_(limits.queue_patches), bytes_(limits.inflight_bytes) {}

  // RESOURCE_EXHAUSTED, with the numbers, where it does not fit now (kQueueFull, kBytesFull) or ever (kCallTooLarge).
  // What fits now, and how calls of different sizes share the room: see Room.
  std::variant<Permit, Refusal> TryAcquire(const Need& need);

 private:
  friend class Permit;
  friend class PermitShare;
  // What one permit holds, under mu_. Jobs of an aborted call may look at it after the permit has gone.
  struct Held {
    Need need;
    bool items_inside = true;
  };
  Need NeedOf(const Held& held);
  void ReleaseItems(Held& held);
  void ReleaseAll(Held& held);
  void Correct(Held& held, const Need& change);
  std::optional<Refusal> NeverFits(const Need& need) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::optional<Refusal> DoesNotFitNow(const Need& need, TimePoint now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Show() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Metrics& metrics_;
  Clock& clock_;
  Mutex mu_;
  int64_t items_ ABSL_GUARDED_BY(mu_) = 0;
  Room patches_ ABSL_GUARDED_BY(mu_);
  Room bytes_ ABSL_GUARDED_BY(mu_);
};

// Gives back on destruction what it still holds. Not thread-safe.
class Permit final {
 public:
  Permit() = default;
  Permit(Permit&& other) noexcept;
  Permit& operator=(Permit&& other) noexcept;
  ~Permit();

  // The items are answered: only the bytes of the reply stay, until it is sent.
  void ReleaseItems();

  // What it holds now, corrections included.
  Need held() const;

  // For those who find out what an item really needs. REQUIRES: the permit came from an Admission.
  PermitShare share() const;

 private:
  friend class Admission;
  Permit(Admission& admission, const Need& need);

  Admission* admission_ = nullptr;
  std::shared_ptr<Admission::Held> held_;
};

// Corrects what a permit holds, where a call was admitted on an estimate. Thread-safe; may outlive the permit.
class PermitShare final {
 public:
  PermitShare() = default;

  // Adds `change`, which may be negative, and may go over the limits: the call is inside already, and others wait for
  // it. Without effect once the items are released, and on a share of nothing.
  void Correct(const Need& change) const;

 private:
  friend class Permit;
  Admission* admission_ = nullptr;
  std::shared_ptr<Admission::Held> held_;
};

}  // namespace vitower
