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
    return Refusal{
        Fault::kCallTooLarge,
        Cat("the call needs ", need.bytes, " bytes for its request, decoded pictures and reply, more than the server ",
            "ever holds: the limit (--max-inflight-bytes) is ", limits.inflight_bytes,
            "; send fewer or smaller items in one call")};
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

}  // namespace

std::variant<Permit, Refusal> Admission::TryAcquire(const Need& need) {
  if (std::optional<Refusal> never = NeverFits(need, limits_)) return *std::move(never);
  MutexLock lock(mu_);
  if (std::optional<Refusal> full = DoesNotFitNow(need, held_, limits_)) return *std::move(full);
  Permit permit(*this, need);
  Add(need);
  return permit;
}

void Admission::Add(const Need& change) {
  held_.items += change.items;
  held_.patches += change.patches;
  held_.bytes += change.bytes;
  metrics_.SetInFlight(held_.items, held_.patches, held_.bytes);
}

Need Admission::NeedOf(const Held& held) {
  MutexLock lock(mu_);
  return held.need;
}

void Admission::ReleaseItems(Held& held) {
  MutexLock lock(mu_);
  Add({-held.need.items, -held.need.patches, /*bytes=*/0});
  held = {{0, 0, held.need.bytes}, /*items_inside=*/false};
}

void Admission::ReleaseAll(Held& held) {
  MutexLock lock(mu_);
  Add({-held.need.items, -held.need.patches, -held.need.bytes});
  held = {{}, /*items_inside=*/false};
}

void Admission::Correct(Held& held, const Need& change) {
  MutexLock lock(mu_);
  if (!held.items_inside) return;
  held.need = {held.need.items + change.items, held.need.patches + change.patches, held.need.bytes + change.bytes};
  Add(change);
}

Permit::Permit(Admission& admission, const Need& need)
    : admission_(&admission), held_(std::make_shared<Admission::Held>(Admission::Held{need})) {}

Permit::Permit(Permit&& other) noexcept
    : admission_(std::exchange(other.admission_, nullptr)), held_(std::move(other.held_)) {}

Permit& Permit::operator=(Permit&& other) noexcept {
  std::swap(admission_, other.admission_);
  std::swap(held_, other.held_);
  return *this;
}

Permit::~Permit() {
  if (admission_ != nullptr) admission_->ReleaseAll(*held_);
}

void Permit::ReleaseItems() {
  if (admission_ != nullptr) admission_->ReleaseItems(*held_);
}

Need Permit::held() const { return admission_ != nullptr ? admission_->NeedOf(*held_) : Need(); }

PermitShare Permit::share() const {
  PermitShare share;
  share.admission_ = admission_;
  share.held_ = held_;
  return share;
}

void PermitShare::Correct(const Need& change) const {
  if (admission_ != nullptr) admission_->Correct(*held_, change);
}

}  // namespace vitower
