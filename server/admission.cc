#include "server/admission.h"

#include <optional>
#include <utility>

#include "server/metrics.h"
#include "server/text.h"

namespace vitower {
namespace {

std::string Claimed(int64_t amount, std::string_view unit) {
  return amount > 0 ? Cat(amount, " ", unit, " set aside for a larger call, ") : "";
}

}  // namespace

std::optional<Refusal> Admission::NeverFits(const Need& need) const {
  if (need.patches > patches_.limit()) {
    return Refusal{Fault::kCallTooLarge,
                   Cat("the call needs ", need.patches, " patches, more than the server ever holds: the limit ",
                       "(--max-queue-patches) is ", patches_.limit(), "; send fewer items in one call")};
  }
  if (need.bytes > bytes_.limit()) {
    return Refusal{
        Fault::kCallTooLarge,
        Cat("the call needs ", need.bytes, " bytes for its request, decoded pictures and reply, more than the server ",
            "ever holds: the limit (--max-inflight-bytes) is ", bytes_.limit(),
            "; send fewer or smaller items in one call")};
  }
  return std::nullopt;
}

std::optional<Refusal> Admission::DoesNotFitNow(const Need& need, TimePoint now) {
  if (!patches_.Fits(need.patches, now)) {
    const std::string claimed = Claimed(patches_.ClaimedFrom(need.patches, now), "patches");
    return Refusal{Fault::kQueueFull,
                   Cat("queue is full: ", patches_.held(), " patches in flight, ", claimed, "the call needs ",
                       need.patches, ", the limit (--max-queue-patches) is ", patches_.limit()),
                   patches_.Refuse(need.patches, now)};
  }
  if (!bytes_.Fits(need.bytes, now)) {
    const std::string claimed = Claimed(bytes_.ClaimedFrom(need.bytes, now), "bytes");
    return Refusal{Fault::kBytesFull,
                   Cat("memory for calls is full: ", bytes_.held(), " bytes in flight, ", claimed, "the call needs ",
                       need.bytes, ", the limit (--max-inflight-bytes) is ", bytes_.limit()),
                   bytes_.Refuse(need.bytes, now)};
  }
  return std::nullopt;
}

std::variant<Permit, Refusal> Admission::TryAcquire(const Need& need) {
  const TimePoint now = clock_.Now();
  MutexLock lock(mu_);
  if (std::optional<Refusal> never = NeverFits(need)) return *std::move(never);
  if (std::optional<Refusal> full = DoesNotFitNow(need, now)) return *std::move(full);
  Permit permit(*this, need);
  items_ += need.items;
  patches_.Enter(need.patches, now);
  bytes_.Enter(need.bytes, now);
  Show();
  return permit;
}

void Admission::Show() { metrics_.SetInFlight(items_, patches_.held(), bytes_.held()); }

Need Admission::NeedOf(const Held& held) {
  MutexLock lock(mu_);
  return held.need;
}

void Admission::ReleaseItems(Held& held) {
  MutexLock lock(mu_);
  items_ -= held.need.items;
  patches_.Leave(held.need.patches, clock_.Now());
  held = {{0, 0, held.need.bytes}, /*items_inside=*/false};
  Show();
}

void Admission::ReleaseAll(Held& held) {
  MutexLock lock(mu_);
  const TimePoint now = clock_.Now();
  items_ -= held.need.items;
  patches_.Leave(held.need.patches, now);
  bytes_.Leave(held.need.bytes, now);
  held = {{}, /*items_inside=*/false};
  Show();
}

void Admission::Correct(Held& held, const Need& change) {
  MutexLock lock(mu_);
  if (!held.items_inside) return;
  held.need = {held.need.items + change.items, held.need.patches + change.patches, held.need.bytes + change.bytes};
  items_ += change.items;
  patches_.Correct(change.patches);
  bytes_.Correct(change.bytes);
  Show();
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
