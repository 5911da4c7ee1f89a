#include "client/embed_stream.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/answer_assembler.h"
#include "client/client_stream_call.h"
#include "client/wire.h"

namespace vitower {
namespace {

constexpr size_t kMaxItemBytes = (size_t{1} << 31) - 1;  // protobuf's own limit

// After the `failures`-th failure in a row.
std::chrono::milliseconds Pause(int failures) {
  return std::chrono::milliseconds(50) * (1 << std::min(failures - 1, 5));
}

absl::Status HasEnded() { return absl::CancelledError("the stream has ended: Read tells why"); }

}  // namespace

// A stream is one call after another; each but the last ended with UNAVAILABLE. The reading thread opens the next one,
// and a thread of its own sends on it what is unanswered, since the reader must not wait for the server to read.
class EmbedStream::Impl {
 public:
  Impl(const StreamOptions& options, OpenCall open)
      : max_items_(static_cast<size_t>(std::max<int64_t>(options.max_items, 1))),
        chunk_bytes_(static_cast<size_t>(std::max<int64_t>(options.chunk_bytes, 1))),
        deadline_(options.deadline),
        attempts_(options.attempts),
        open_(std::move(open)),
        call_(open_()) {}

  ~Impl() { Cancel(); }

  // True: `key` is in flight now. False: there is no room, and it was not to be waited for.
  absl::StatusOr<bool> Enter(uint64_t key, bool wait);
  absl::Status Send(uint64_t key, EmbedItem item);
  absl::StatusOr<std::optional<StreamAnswer>> Read(TimePoint until);
  void WritesDone();
  void Cancel();

 private:
  using Call = std::shared_ptr<ClientStreamCall>;

  struct Flying {
    std::shared_ptr<const EmbedItem> item;  // unset: it is sent only once
    int64_t call_number = 0;                // of the call it was sent on; 0: it is to be sent
    int failures = 0;                       // answers that it is UNAVAILABLE
    TimePoint due{};                        // not to be sent again before
  };

  bool SendOn(ClientStreamCall& call, uint64_t key, v1::EmbedStreamRequest message);
  bool SendParts(ClientStreamCall& call, uint64_t key, v1::Item item);
  void StartSendingAgain();
  void StopSendingAgain();
  void SendAgain(int64_t call_number);
  std::optional<uint64_t> AwaitDue(int64_t call_number);
  std::shared_ptr<const EmbedItem> Claim(uint64_t key, int64_t call_number);
  bool TryItemAgain(uint64_t key);
  absl::StatusOr<std::optional<StreamAnswer>> TakeAnswer(v1::EmbedStreamResponse message);
  bool HasUnsent() const;
  bool OpenAgain();
  bool MayOpenAgain(const absl::Status& end);
  absl::StatusOr<std::optional<StreamAnswer>> TakeEnd();
  absl::Status Fail(absl::Status broken);
  bool Leave(uint64_t key);  // false: it was not in flight
  Call call() const;

  const size_t max_items_;
  const size_t chunk_bytes_;
  const TimePoint deadline_;
  const int attempts_;
  const OpenCall open_;

  AnswerAssembler assembler_;  // of the reading thread
  absl::Status broken_;        // of the reading thread: how the server broke the protocol
  int failures_ = 0;           // of the reading thread: calls that have ended since the last answer

  std::mutex send_mu_;  // held while an item is written with all its parts, and to change the call; taken before mu_

  mutable std::mutex mu_;
  std::condition_variable changed_;
  // Guarded by mu_.
  Call call_;
  int64_t call_number_ = 1;
  std::map<uint64_t, Flying> in_flight_;
  bool sends_again_ = false;  // sending_again_ is at work, and the half-close is its affair
  bool stop_sending_again_ = false;
  bool writes_done_ = false;
  bool cancelled_ = false;
  bool ended_ = false;

  std::jthread sending_again_;  // last: joined before the rest goes
};

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
    in_flight_[key] = {.item = std::move(kept), .call_number = call_number_};
    call = call_;
  }
  // Where the call has ended and there may be another one, Read sees to it that the item is sent again.
  return SendOn(*call, key, std::move(message)) || attempts_ > 1 ? absl::OkStatus() : HasEnded();
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
  while (const std::optional<uint64_t> key = AwaitDue(call_number)) {
    const std::lock_guard sending(send_mu_);
    const std::shared_ptr<const EmbedItem> item = Claim(*key, call_number);
    if (item == nullptr) continue;
    v1::EmbedStreamRequest message;
    message.set_key(*key);
    FillItem(*item, *message.mutable_item());
    if (!SendOn(*call(), *key, std::move(message))) return;
  }
  bool half_close = false;
  {
    const std::lock_guard lock(mu_);
    half_close = writes_done_ && !stop_sending_again_;
  }
  if (half_close) call()->WritesDone();
}

// Nothing where there is nothing more to send: then the half-close is the writer's affair again.
std::optional<uint64_t> EmbedStream::Impl::AwaitDue(int64_t call_number) {
  std::unique_lock lock(mu_);
  while (!ended_ && !stop_sending_again_) {
    auto first = in_flight_.end();
    for (auto at = in_flight_.begin(); at != in_flight_.end(); ++at) {
      if (at->second.item == nullptr || at->second.call_number >= call_number) continue;
      if (first == in_flight_.end() || at->second.due < first->second.due) first = at;
    }
    if (first == in_flight_.end()) break;
    if (first->second.due <= std::chrono::system_clock::now()) return first->first;
    changed_.wait_until(lock, TimePoint(first->second.due));
  }
  sends_again_ = false;
  return std::nullopt;
}

// The item to send on that call, once. REQUIRES: send_mu_.
std::shared_ptr<const EmbedItem> EmbedStream::Impl::Claim(uint64_t key, int64_t call_number) {
  const std::lock_guard lock(mu_);
  const auto found = in_flight_.find(key);
  if (found == in_flight_.end() || found->second.call_number >= call_number) return nullptr;
  found->second.call_number = call_number;
  return found->second.item;
}

// The item was answered with UNAVAILABLE: it goes again after a pause, on this call or, where that is half-closed, the
// next.
bool EmbedStream::Impl::TryItemAgain(uint64_t key) {
  {
    const std::lock_guard lock(mu_);
    const auto found = in_flight_.find(key);
    if (found == in_flight_.end() || ++found->second.failures >= attempts_ || ended_) return false;
    found->second.call_number = 0;
    found->second.due = std::chrono::system_clock::now() + Pause(found->second.failures);
    changed_.notify_all();
    if (sends_again_ || writes_done_) return true;
  }
  StopSendingAgain();  // it has ended
  const std::lock_guard lock(mu_);
  StartSendingAgain();
  return true;
}

absl::StatusOr<std::optional<StreamAnswer>> EmbedStream::Impl::Read(TimePoint until) {
  if (!broken_.ok()) return broken_;
  v1::EmbedStreamResponse message;
  while (true) {
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

bool EmbedStream::Impl::OpenAgain() {
  if (!MayOpenAgain(call()->status())) return false;
  StopSendingAgain();
  assembler_ = {};
  const std::lock_guard sending(send_mu_);
  Call opened = open_();
  const std::lock_guard lock(mu_);
  if (ended_) return false;
  call_ = std::move(opened);
  ++call_number_;
  StartSendingAgain();
  return true;
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
  {
    const std::lock_guard lock(mu_);
    writes_done_ = true;
    if (sends_again_) return;
  }
  call()->WritesDone();
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
