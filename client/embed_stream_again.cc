// What a stream does when the server is not there for it.
#include <algorithm>
#include <chrono>
#include <utility>

#include "client/embed_stream_impl.h"

namespace vitower {
namespace {

// After the `failures`-th failure in a row.
std::chrono::milliseconds Pause(int failures) {
  return std::chrono::milliseconds(50) * (1 << std::clamp(failures - 1, 0, 5));
}

}  // namespace

// REQUIRES: mu_; the thread before has ended.
void EmbedStream::Impl::StartSendingAgain() {
  sends_again_ = true;
  stop_sending_again_ = false;
  sending_again_ = std::jthread([this, number = call_number_] { SendAgain(number); });
}

void EmbedStream::Impl::StopSendingAgain() {
  {
    const std::lock_guard lock(mu_);
    stop_sending_again_ = true;
    changed_.notify_all();
  }
  sending_again_ = {};
}

// What is to be sent again, on the call of that number, as long as it lasts.
void EmbedStream::Impl::SendAgain(int64_t call_number) {
  Due due = AwaitDue(call_number);
  for (; due.key; due = AwaitDue(call_number)) {
    const std::lock_guard sending(send_mu_);
    const std::shared_ptr<const EmbedItem> item = Claim(*due.key, call_number);
    if (item == nullptr) continue;
    if (SendOn(*call(), {*due.key, item, chunk_bytes_})) continue;
    TakeBack(*due.key, /*counts=*/true);
    return;
  }
  if (due.half_close) call()->WritesDone();
}

// No key where there is nothing more to send: from then on the half-close is the writer's affair again, unless it was
// put off until now.
EmbedStream::Impl::Due EmbedStream::Impl::AwaitDue(int64_t call_number) {
  std::unique_lock lock(mu_);
  while (!ended_ && !stop_sending_again_) {
    auto first = in_flight_.end();
    for (auto at = in_flight_.begin(); at != in_flight_.end(); ++at) {
      if (at->second.item == nullptr || at->second.call_number >= call_number) continue;
      if (first == in_flight_.end() || at->second.due < first->second.due) first = at;
    }
    if (first == in_flight_.end()) break;
    if (first->second.due <= std::chrono::system_clock::now()) return {.key = first->first};
    changed_.wait_until(lock, TimePoint(first->second.due));
  }
  sends_again_ = false;
  return {.key = std::nullopt, .half_close = writes_done_ && !stop_sending_again_};
}

// The item to send on that call, once. REQUIRES: send_mu_.
std::shared_ptr<const EmbedItem> EmbedStream::Impl::Claim(uint64_t key, int64_t call_number) {
  const std::lock_guard lock(mu_);
  const auto found = in_flight_.find(key);
  if (found == in_flight_.end() || found->second.call_number >= call_number) return nullptr;
  found->second.call_number = call_number;
  ++found->second.sends;
  return found->second.item;
}

// The call took it in part at most. REQUIRES: send_mu_.
void EmbedStream::Impl::TakeBack(uint64_t key, bool counts) {
  const std::lock_guard lock(mu_);
  const auto found = in_flight_.find(key);
  if (found == in_flight_.end()) return;
  found->second.call_number = 0;
  if (!counts) --found->second.sends;
}

// The item was answered with UNAVAILABLE: it goes again after a pause, on this call or, where that is half-closed, the
// next.
bool EmbedStream::Impl::TryItemAgain(uint64_t key) {
  {
    const std::lock_guard lock(mu_);
    const auto found = in_flight_.find(key);
    if (found == in_flight_.end() || found->second.item == nullptr || ended_) return false;
    if (found->second.sends >= attempts_) return false;
    found->second.call_number = 0;
    found->second.due = std::chrono::system_clock::now() + Pause(found->second.sends);
    changed_.notify_all();
    if (sends_again_ || writes_done_) return true;
    sends_again_ = true;  // from now on, or the writer would half-close before the item is sent
  }
  StopSendingAgain();  // it has ended
  const std::lock_guard lock(mu_);
  StartSendingAgain();
  return true;
}

bool EmbedStream::Impl::OpenAgain() {
  const absl::Status end = call()->status();
  StopSendingAgain();
  { const std::lock_guard sending(send_mu_); }  // who was writing has seen the end
  if (!MayOpenAgain(end)) return false;
  assembler_ = {};
  const std::lock_guard sending(send_mu_);
  Call opened = open_();
  const std::lock_guard lock(mu_);
  if (ended_) return false;
  GiveUp(end.ok() ? absl::UnavailableError("the server ended the stream without an answer to the item") : end);
  call_ = std::move(opened);
  ++call_number_;
  StartSendingAgain();
  return true;
}

// Answers what has been sent as often as may be: it may be what breaks the calls. REQUIRES: mu_.
void EmbedStream::Impl::GiveUp(const absl::Status& status) {
  for (auto at = in_flight_.begin(); at != in_flight_.end();) {
    const auto& [key, flying] = *at;
    if (flying.item == nullptr || flying.sends < attempts_) {
      ++at;
      continue;
    }
    EmbedResult result;
    result.id = flying.item->id;
    result.status = status;
    given_up_.push_back({key, std::move(result)});
    at = in_flight_.erase(at);
  }
  changed_.notify_all();
}

// REQUIRES: mu_.
bool EmbedStream::Impl::HasUnsent() const {
  return std::any_of(in_flight_.begin(), in_flight_.end(),
                     [](const auto& entry) { return entry.second.item != nullptr && entry.second.call_number == 0; });
}

// Waits before it says so.
bool EmbedStream::Impl::MayOpenAgain(const absl::Status& end) {
  std::unique_lock lock(mu_);
  const bool wanted = end.ok() ? HasUnsent() : end.code() == absl::StatusCode::kUnavailable;
  if (!wanted || ++failures_ >= attempts_) return false;
  const TimePoint next = std::chrono::system_clock::now() + Pause(failures_);
  return next < deadline_ && !changed_.wait_until(lock, next, [this] { return ended_; });
}

}  // namespace vitower
