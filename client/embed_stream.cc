#include "client/embed_stream.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/embed_stream_impl.h"
#include "client/wire.h"

namespace vitower {
namespace {

constexpr size_t kMaxItemBytes = (size_t{1} << 31) - 1;  // protobuf's own limit

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

absl::Status EmbedStream::Impl::Send(uint64_t key, EmbedItem item) {
  v1::EmbedStreamRequest message;
  message.set_key(key);
  std::shared_ptr<const EmbedItem> kept;
  if (attempts_ > 1) kept = std::make_shared<const EmbedItem>(item);
  FillItem(std::move(item), *message.mutable_item());
  const size_t bytes = message.item().ByteSizeLong();
  if (bytes > kMaxItemBytes) {
    Leave(key);
    return absl::InvalidArgumentError(absl::StrCat("the item has ", bytes, " bytes: at most ", kMaxItemBytes));
  }
  const std::lock_guard sending(send_mu_);
  Call call;
  {
    const std::lock_guard lock(mu_);
    if (ended_) return HasEnded();
    in_flight_[key] = {.item = std::move(kept), .call_number = call_number_, .sends = 1};
    call = call_;
  }
  if (SendOn(*call, key, std::move(message))) return absl::OkStatus();
  TakeBack(key, /*counts=*/false);  // the call may long have ended
  // Where there may be another call, Read sees to it that the item is sent again.
  return attempts_ > 1 ? absl::OkStatus() : HasEnded();
}

bool EmbedStream::Impl::SendOn(ClientStreamCall& call, uint64_t key, v1::EmbedStreamRequest message) {
  if (message.item().ByteSizeLong() <= chunk_bytes_) return call.Write(message);
  return SendParts(call, key, std::move(*message.mutable_item()));
}

bool EmbedStream::Impl::SendParts(ClientStreamCall& call, uint64_t key, v1::Item item) {
  const std::string bytes = item.SerializeAsString();
  item.Clear();  // held once, not twice
  for (size_t offset = 0; offset < bytes.size(); offset += chunk_bytes_) {
    v1::EmbedStreamRequest message;
    message.set_key(key);
    v1::ItemPart& part = *message.mutable_part();
    part.set_offset(offset);
    part.set_total(bytes.size());
    part.set_data(bytes.data() + offset, std::min(chunk_bytes_, bytes.size() - offset));
    if (!call.Write(message)) return false;
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
  const absl::StatusOr<bool> entered = impl_->Enter(key, /*wait=*/true);
  return entered.ok() ? impl_->Send(key, std::move(item)) : entered.status();
}

absl::StatusOr<bool> EmbedStream::TryWrite(uint64_t key, EmbedItem& item) {
  absl::StatusOr<bool> entered = impl_->Enter(key, /*wait=*/false);
  if (!entered.ok() || !*entered) return entered;
  absl::Status sent = impl_->Send(key, std::move(item));
  if (!sent.ok()) return sent;
  return true;
}

void EmbedStream::WritesDone() { impl_->WritesDone(); }

absl::StatusOr<std::optional<StreamAnswer>> EmbedStream::Read(TimePoint until) { return impl_->Read(until); }

void EmbedStream::Cancel() { impl_->Cancel(); }

}  // namespace vitower
