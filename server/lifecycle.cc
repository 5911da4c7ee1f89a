#include "server/lifecycle.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace vitower {

Lifecycle::Lifecycle(Metrics& metrics, Clock& clock) : metrics_(metrics), clock_(clock) {
  metrics_.SetState(State::kStarting);
}

State Lifecycle::state() const {
  MutexLock lock(mu_);
  return leaving_ ? std::max(state_, State::kDraining) : state_;
}

bool Lifecycle::Alive() const {
  constexpr std::chrono::minutes kHopeless{2};
  MutexLock lock(mu_);
  return state_ != State::kStuck || clock_.Now() < stuck_since_ + kHopeless;
}

void Lifecycle::AnnounceDrain(TimePoint until) {
  {
    MutexLock lock(mu_);
    if (state_ != State::kServing) return;
    leaving_ = true;
    metrics_.SetState(State::kDraining);
  }
  on_change_();
  MutexLock lock(mu_);
  while (clock_.Now() < until) clock_.WaitUntil(changed_, mu_, until);
}

bool Lifecycle::Advance(State to) {
  std::vector<std::shared_ptr<Drainable>> told;
  {
    MutexLock lock(mu_);
    if (to <= state_) return false;
    state_ = to;
    metrics_.SetState(to);
    if (to == State::kDraining) {
      for (const auto& [key, stream] : streams_) told.push_back(stream);
    }
  }
  changed_.NotifyAll();
  on_change_();
  for (const std::shared_ptr<Drainable>& stream : told) stream->OnDrain();
  return true;
}

void Lifecycle::SetStuck(bool stuck) {
  {
    MutexLock lock(mu_);
    if ((state_ != State::kServing && state_ != State::kStuck) || !warm_up_.ok()) return;
    if (stuck && state_ != State::kStuck) stuck_since_ = clock_.Now();
    state_ = stuck ? State::kStuck : State::kServing;
    if (!leaving_) metrics_.SetState(state_);
  }
  on_change_();
}

void Lifecycle::FailWarmUp(absl::Status why) {
  {
    MutexLock lock(mu_);
    warm_up_.Update(std::move(why));
    if (state_ < State::kServing) {
      state_ = State::kStuck;
      stuck_since_ = clock_.Now();
      metrics_.SetState(state_);
    }
  }
  changed_.NotifyAll();
  on_change_();
}

absl::Status Lifecycle::WaitUntilServing() {
  MutexLock lock(mu_);
  while (state_ < State::kServing && warm_up_.ok()) changed_.Wait(mu_);
  if (!warm_up_.ok()) return warm_up_;
  if (state_ > State::kStuck) return MakeStatus(Fault::kDraining, "the server is shutting down");
  return absl::OkStatus();
}

std::optional<Refusal> Lifecycle::Closed() const {
  MutexLock lock(mu_);
  return ClosedNow();
}

std::optional<Refusal> Lifecycle::ClosedNow() const {
  if (state_ < State::kServing) {
    return Refusal{Fault::kNotReady, "the server is warming up: try again when its health is SERVING"};
  }
  if (state_ == State::kStuck) return Refusal{Fault::kNoDevice, "no device of the server works: try another server"};
  if (state_ > State::kServing) return Refusal{Fault::kDraining, "the server is shutting down: try another one"};
  return std::nullopt;
}

std::optional<Refusal> Lifecycle::Enter(const std::shared_ptr<Call>& call) {
  MutexLock lock(mu_);
  if (std::optional<Refusal> closed = ClosedNow()) return closed;
  calls_.emplace(call.get(), call);
  return std::nullopt;
}

void Lifecycle::Leave(const Call& call) {
  {
    MutexLock lock(mu_);
    if (calls_.erase(&call) == 0) return;
  }
  changed_.NotifyAll();
}

std::optional<Refusal> Lifecycle::EnterStream(const std::shared_ptr<Drainable>& stream) {
  MutexLock lock(mu_);
  if (std::optional<Refusal> closed = ClosedNow()) return closed;
  streams_.emplace(stream.get(), stream);
  return std::nullopt;
}

void Lifecycle::LeaveStream(const Drainable& stream) {
  {
    MutexLock lock(mu_);
    if (streams_.erase(&stream) == 0) return;
  }
  changed_.NotifyAll();
}

size_t Lifecycle::WaitForCalls(TimePoint deadline) {
  MutexLock lock(mu_);
  while (Inside() > 0 && clock_.Now() < deadline) clock_.WaitUntil(changed_, mu_, deadline);
  return Inside();
}

size_t Lifecycle::AbortCalls() {
  std::vector<std::shared_ptr<Call>> inside;
  {
    MutexLock lock(mu_);
    for (const auto& [key, call] : calls_) inside.push_back(call);
  }
  const absl::Status why = MakeStatus(Fault::kAbandoned, "the server shut down before the item was done");
  size_t aborted = 0;
  for (const std::shared_ptr<Call>& call : inside) aborted += call->Abort(why, clock_.Now()) ? 1 : 0;
  return aborted;
}

}  // namespace vitower
