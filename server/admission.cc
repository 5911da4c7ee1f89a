#include "server/admission.h"

#include <optional>
#include <utility>

#include "server/metrics.h"
#include "server/text.h"

namespace vitower {
namespace {

std::optional<Refusal> NeverFits(const Need& need, const Admission::Limits& limits) {
  if (need.patches > limits.queue_patches) {
    return Refusal{Fault::kCallTooLarge,
                   Cat("the call needs ", need.patches, " patches, more than the server ever holds: the limit ",
                       "(--max-queue-patches) is ", limits.queue_patches, "; send fewer items in one call")};
  }
  if (need.bytes > limits.inflight_bytes) {
    return Refusal{Fault::kCallTooLarge, Cat("the call needs ", need.bytes,
                                             " bytes for its request, decoded images and reply, more than the server ",
                                             "ever holds: the limit (--max-inflight-bytes) is ", limits.inflight_bytes,
                                             "; send fewer or smaller images in one call")};
  }
  return std::nullopt;
}

std::optional<Refusal> DoesNotFitNow(const Need& need, const Need& held, const Admission::Limits& limits) {
  if (held.patches + need.patches > limits.queue_patches) {
    return Refusal{Fault::kQueueFull, Cat("queue is full: ", held.patches, " patches in flight, the call needs ",
                                          need.patches, ", the limit (--max-queue-patches) is ", limits.queue_patches)};
  }
  if (held.bytes + need.bytes > limits.inflight_bytes) {
    return Refusal{Fault::kBytesFull, Cat("memory for calls is full: ", held.bytes, " bytes in flight, the call needs ",
                                          need.bytes, ", the limit (--max-inflight-bytes) is ", limits.inflight_bytes)};
  }
  return std::nullopt;
}

void Add(Need& held, const Need& change, int64_t sign) {
  held.items += sign * change.items;
  held.patches += sign * change.patches;
  held.bytes += sign * change.bytes;
}

}  // namespace

std::variant<Permit, Refusal> Admission::TryAcquire(const Need& need) {
  if (std::optional<Refusal> never = NeverFits(need, limits_)) return *std::move(never);
  MutexLock lock(mu_);
  if (std::optional<Refusal> full = DoesNotFitNow(need, held_, limits_)) return *std::move(full);
  Add(held_, need, 1);
  metrics_.SetInFlight(held_.items, held_.patches, held_.bytes);
  return Permit(*this, need);
}

void Admission::Release(const Need& part) {
  MutexLock lock(mu_);
  Add(held_, part, -1);
  metrics_.SetInFlight(held_.items, held_.patches, held_.bytes);
}

Permit::Permit(Permit&& other) noexcept
    : admission_(std::exchange(other.admission_, nullptr)), held_(std::exchange(other.held_, {})) {}

Permit& Permit::operator=(Permit&& other) noexcept {
  std::swap(admission_, other.admission_);
  std::swap(held_, other.held_);
  return *this;
}

Permit::~Permit() {
  if (admission_ != nullptr) admission_->Release(held_);
}

void Permit::ReleaseItems() {
  if (admission_ == nullptr) return;
  admission_->Release(Need{held_.items, held_.patches, /*bytes=*/0});
  held_.items = 0;
  held_.patches = 0;
}

}  // namespace vitower
