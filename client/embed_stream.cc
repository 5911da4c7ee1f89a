#include "client/embed_stream.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/answer_assembler.h"
#include "client/client_stream_call.h"
#include "client/wire.h"

namespace vitower {
namespace {

constexpr size_t kMaxItemBytes = (size_t{1} << 31) - 1;  // protobuf's own limit

absl::Status HasEnded() { return absl::CancelledError("the stream has ended: Read tells why"); }

}  // namespace

class EmbedStream::Impl {
 public:
  Impl(const StreamOptions& options, std::unique_ptr<ClientStreamCall> call)
      : max_items_(static_cast<size_t>(std::max<int64_t>(options.max_items, 1))),
        chunk_bytes_(static_cast<size_t>(std::max<int64_t>(options.chunk_bytes, 1))),
        deadline_(options.deadline),
        call_(std::move(call)) {}

  // True: `key` is in flight now. False: there is no room, and it was not to be waited for.
  absl::StatusOr<bool> Enter(uint64_t key, bool wait);
  absl::Status Send(uint64_t key, EmbedItem item);
  absl::StatusOr<std::optional<StreamAnswer>> Read(TimePoint until);
  void WritesDone() { call_->WritesDone(); }
  void Cancel();

 private:
  bool SendParts(uint64_t key, v1::Item item);
  absl::StatusOr<std::optional<StreamAnswer>> TakeEnd();
  absl::Status Fail(absl::Status broken);
  bool Leave(uint64_t key);  // false: it was not in flight

  const size_t max_items_;
  const size_t chunk_bytes_;
  const TimePoint deadline_;
  const std::unique_ptr<ClientStreamCall> call_;  // has its own lock

  AnswerAssembler assembler_;  // of the reading thread
  absl::Status broken_;        // of the reading thread: how the server broke the protocol

  std::mutex mu_;
  std::condition_variable changed_;
  std::set<uint64_t> in_flight_;  // guarded by mu_
  bool ended_ = false;            // guarded by mu_
};

absl::StatusOr<bool> EmbedStream::Impl::Enter(uint64_t key, bool wait) {
  std::unique_lock lock(mu_);
  const auto may_go_on = [this] { return ended_ || in_flight_.size() < max_items_; };
  if (wait && !changed_.wait_until(lock, deadline_, may_go_on)) return HasEnded();
  if (ended_) return HasEnded();
  if (in_flight_.count(key) > 0) return absl::InvalidArgumentError(absl::StrCat("key ", key, " is in flight already"));
  if (!may_go_on()) return false;
  in_flight_.insert(key);
  return true;
}

absl::Status EmbedStream::Impl::Send(uint64_t key, EmbedItem item) {
  v1::EmbedStreamRequest message;
  message.set_key(key);
  FillItem(std::move(item), *message.mutable_item());
  const size_t bytes = message.item().ByteSizeLong();
  if (bytes > kMaxItemBytes) {
    Leave(key);
    return absl::InvalidArgumentError(absl::StrCat("the item has ", bytes, " bytes: at most ", kMaxItemBytes));
  }
  const bool sent = bytes <= chunk_bytes_ ? call_->Write(message) : SendParts(key, std::move(*message.mutable_item()));
  return sent ? absl::OkStatus() : HasEnded();
}

bool EmbedStream::Impl::SendParts(uint64_t key, v1::Item item) {
  const std::string bytes = item.SerializeAsString();
  item.Clear();  // held once, not twice
  for (size_t offset = 0; offset < bytes.size(); offset += chunk_bytes_) {
    v1::EmbedStreamRequest message;
    message.set_key(key);
    v1::ItemPart& part = *message.mutable_part();
    part.set_offset(offset);
    part.set_total(bytes.size());
    part.set_data(bytes.data() + offset, std::min(chunk_bytes_, bytes.size() - offset));
    if (!call_->Write(message)) return false;
  }
  return true;
}

absl::StatusOr<std::optional<StreamAnswer>> EmbedStream::Impl::Read(TimePoint until) {
  if (!broken_.ok()) return broken_;
  v1::EmbedStreamResponse message;
  while (true) {
    const ClientStreamCall::ReadOutcome outcome = call_->Read(message, until);
    if (outcome == ClientStreamCall::ReadOutcome::kTimedOut)
      return absl::DeadlineExceededError("no answer came in time");
    if (outcome == ClientStreamCall::ReadOutcome::kEnded) return TakeEnd();
    absl::StatusOr<std::optional<AnswerAssembler::Answer>> answer = assembler_.Take(std::move(message));
    if (!answer.ok()) return Fail(answer.status());
    if (!*answer) continue;
    const uint64_t key = (*answer)->key;
    if (!Leave(key))
      return Fail(absl::InternalError(absl::StrCat("the server answered key ", key, ", which was not sent")));
    return StreamAnswer{key, TakeResult(std::move((*answer)->result))};
  }
}

// Writers that wait for room go on to see that there will be none.
absl::StatusOr<std::optional<StreamAnswer>> EmbedStream::Impl::TakeEnd() {
  const std::lock_guard lock(mu_);
  ended_ = true;
  changed_.notify_all();
  if (absl::Status status = call_->status(); !status.ok()) return status;
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

void EmbedStream::Impl::Cancel() {
  {
    const std::lock_guard lock(mu_);
    ended_ = true;
    changed_.notify_all();
  }
  call_->Cancel();
}

EmbedStream::EmbedStream(const StreamOptions& options, std::unique_ptr<ClientStreamCall> call)
    : impl_(std::make_unique<Impl>(options, std::move(call))) {}
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
