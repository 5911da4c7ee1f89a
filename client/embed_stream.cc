#include "client/embed_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/embed_stream_impl.h"
#include "client/wire.h"

namespace vitower {
namespace {

absl::Status HasEnded() { return absl::CancelledError("the stream has ended: Read tells why"); }

}  // namespace

absl::StatusOr<bool> EmbedStream::Impl::Enter(uint64_t key, bool wait) {
  std::unique_lock lock(mu_);
  const auto may_go_on = [this] { return ended_ || in_flight_.size() < max_items_; };
  if (wait && !changed_.wait_until(lock, deadline_, may_go_on)) return HasEnded();
  if (ended_) return HasEnded();
  if (in_flight_.count(key) > 0) return absl::InvalidArgumentError(absl::StrCat("key ", key, " is in flight already"));
  if (!may_go_on()) return false;
  in_flight_[key] = {};
  return true;
}

absl::Status EmbedStream::Impl::Send(uint64_t key, std::shared_ptr<const EmbedItem> item) {
  StreamItemWire wire(key, item, chunk_bytes_);
  if (wire.item_bytes() > kMaxMessageBytes) {
    Leave(key);
    return absl::InvalidArgumentError(
        absl::StrCat("the item has ", wire.item_bytes(), " bytes: at most ", kMaxMessageBytes));
  }
  if (attempts_ <= 1) item = nullptr;
  const std::lock_guard sending(send_mu_);
  Call call;
  {
    const std::lock_guard lock(mu_);
    if (ended_) return HasEnded();
    in_flight_[key] = {.item = std::move(item), .call_number = call_number_, .sends = 1};
    call = call_;
  }
  if (SendOn(*call, std::move(wire))) return absl::OkStatus();
  TakeBack(key, /*counts=*/false);  // the call may long have ended
  // Where there may be another call, Read sees to it that the item is sent again.
  return attempts_ > 1 ? absl::OkStatus() : HasEnded();
}

bool EmbedStream::Impl::SendOn(ClientStreamCall& call, StreamItemWire item) {
  while (!item.done()) {
    if (!call.Write(item.Next())) return false;
  }
  return true;
}

absl::StatusOr<std::optional<StreamAnswer>> EmbedStream::Impl::Read(TimePoint until) {
  if (!broken_.ok()) return broken_;
  v1::EmbedStreamResponse message;
  while (true) {
    if (!given_up_.empty()) {
      StreamAnswer answer = std::move(given_up_.front());
      given_up_.pop_front();
      return answer;
    }
    const ClientStreamCall::ReadOutcome outcome = call()->Read(message, until);
    if (outcome == ClientStreamCall::ReadOutcome::kTimedOut)
      return absl::DeadlineExceededError("no answer came in time");
    if (outcome == ClientStreamCall::ReadOutcome::kEnded) {
      if (OpenAgain()) continue;
      return TakeEnd();
    }
    absl::StatusOr<std::optional<StreamAnswer>> answer = TakeAnswer(std::move(message));
    if (!answer.ok() || answer->has_value()) return answer;
  }
}

// Nothing where the message completes no answer.
absl::StatusOr<std::optional<StreamAnswer>> EmbedStream::Impl::TakeAnswer(v1::EmbedStreamResponse message) {
  absl::StatusOr<std::optional<AnswerAssembler::Answer>> answer = assembler_.Take(std::move(message));
  if (!answer.ok()) return Fail(answer.status());
  if (!*answer) return std::optional<StreamAnswer>();
  const uint64_t key = (*answer)->key;
  const bool unavailable = (*answer)->result.status().code() == static_cast<uint32_t>(absl::StatusCode::kUnavailable);
  if (unavailable && TryItemAgain(key)) return std::optional<StreamAnswer>();
  failures_ = 0;
  if (!Leave(key))
    return Fail(absl::InternalError(absl::StrCat("the server answered key ", key, ", which was not sent")));
  return StreamAnswer{key, TakeResult(std::move((*answer)->result))};
}

// Writers that wait for room go on to see that there will be none.
absl::StatusOr<std::optional<StreamAnswer>> EmbedStream::Impl::TakeEnd() {
  const std::lock_guard lock(mu_);
  ended_ = true;
  changed_.notify_all();
  absl::Status status = call_->status();
  if (!status.ok() && cancelled_) return absl::CancelledError("the stream was cancelled");
  if (!status.ok()) return status;
  if (in_flight_.empty()) return std::optional<StreamAnswer>();
  return absl::InternalError(absl::StrCat("the server ended the stream with ", in_flight_.size(), " items unanswered"));
}

absl::Status EmbedStream::Impl::Fail(absl::Status broken) {
  Cancel();
  return broken_ = std::move(broken);
}

bool EmbedStream::Impl::Leave(uint64_t key) {
  const std::lock_guard lock(mu_);
  changed_.notify_all();
  return in_flight_.erase(key) > 0;
}

void EmbedStream::Impl::WritesDone() {
  Call current;  // not the next one, on which something may have to be sent again first
  {
    const std::lock_guard lock(mu_);
    writes_done_ = true;
    if (sends_again_) return;
    current = call_;
  }
  current->WritesDone();
}

void EmbedStream::Impl::Cancel() {
  const std::lock_guard lock(mu_);
  cancelled_ = ended_ = true;
  changed_.notify_all();
  call_->Cancel();
}

EmbedStream::Impl::Call EmbedStream::Impl::call() const {
  const std::lock_guard lock(mu_);
  return call_;
}

EmbedStream::EmbedStream(const StreamOptions& options, OpenCall open)
    : impl_(std::make_unique<Impl>(options, std::move(open))) {}
EmbedStream::~EmbedStream() = default;

absl::Status EmbedStream::Write(uint64_t key, EmbedItem item) {
  return Write(key, std::make_shared<const EmbedItem>(std::move(item)));
}

absl::Status EmbedStream::Write(uint64_t key, std::shared_ptr<const EmbedItem> item) {
  const absl::StatusOr<bool> entered = impl_->Enter(key, /*wait=*/true);
  return entered.ok() ? impl_->Send(key, std::move(item)) : entered.status();
}

absl::StatusOr<bool> EmbedStream::TryWrite(uint64_t key, EmbedItem& item) {
  absl::StatusOr<bool> entered = impl_->Enter(key, /*wait=*/false);
  if (!entered.ok() || !*entered) return entered;
  absl::Status sent = impl_->Send(key, std::make_shared<const EmbedItem>(std::move(item)));
  if (!sent.ok()) return sent;
  return true;
}

void EmbedStream::WritesDone() { impl_->WritesDone(); }

absl::StatusOr<std::optional<StreamAnswer>> EmbedStream::Read(TimePoint until) { return impl_->Read(until); }

void EmbedStream::Cancel() { impl_->Cancel(); }

}  // namespace vitower
