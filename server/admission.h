#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "server/mutex.h"
#include "server/status.h"

namespace vitower {

class Metrics;

// A call refused as a whole, before any work.
struct Refusal {
  Fault fault = Fault::kInternal;
  std::string message;
};

// What a call will hold: its items' patches until they are answered, its bytes (request, decoded images and reply)
// until the reply is sent.
struct Need {
  int64_t items = 0;
  int64_t patches = 0;
  int64_t bytes = 0;
};

class Permit;

// The door: a call is admitted whole or refused at once, so that a full server says so before it works and its memory
// has a bound. Thread-safe, never blocks. Must outlive its permits.
class Admission final {
 public:
  struct Limits {
    int64_t queue_patches = 0;   // --max-queue-patches
    int64_t inflight_bytes = 0;  // --max-inflight-bytes
  };

  Admission(Limits limits, Metrics& metrics) : limits_(limits), metrics_(metrics) {}

  // RESOURCE_EXHAUSTED, with the numbers, where it does not fit now (kQueueFull, kBytesFull) or ever (kCallTooLarge).
  std::variant<Permit, Refusal> TryAcquire(const Need& need);

 private:
  friend class Permit;
  void Release(const Need& part);

  const Limits limits_;
  Metrics& metrics_;
  Mutex mu_;
  Need held_ ABSL_GUARDED_BY(mu_);
};

// Gives back on destruction what it still holds. Not thread-safe.
class Permit final {
 public:
  Permit() = default;
  Permit(Admission& admission, const Need& need) : admission_(&admission), held_(need) {}
  Permit(Permit&& other) noexcept;
  Permit& operator=(Permit&& other) noexcept;
  ~Permit();

  // The items are answered: only the bytes of the reply stay, until it is sent.
  void ReleaseItems();

 private:
  Admission* admission_ = nullptr;
  Need held_;
};

}  // namespace vitower
