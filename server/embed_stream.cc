#include "server/embed_stream.h"

#include <utility>
#include <vector>

namespace vitower {
namespace {

StreamUploads::Limits UploadLimits(const v1::Limits& limits) {
  return {static_cast<int64_t>(limits.max_stream_items()), static_cast<int64_t>(limits.max_request_bytes()),
          static_cast<int64_t>(limits.max_inflight_bytes() / 2)};
}

StreamWindow::Limits WindowLimits(const v1::Limits& limits) {
  return {static_cast<int64_t>(limits.max_stream_items()), static_cast<int64_t>(limits.max_queue_patches() / 2),
          static_cast<int64_t>(limits.max_inflight_bytes() / 2)};
}

absl::Status DrainedStatus() {
  return MakeStatus(Fault::kDraining, "the server is shutting down: what it accepted is answered, try another one");
}

}  // namespace

EmbedStreamReactor* EmbedStreamReactor::Start(const Rpc& rpc, grpc::CallbackServerContext& context) {
  auto stream = std::make_shared<EmbedStreamReactor>(rpc, context);
  stream->self_ = stream;
  stream->Open();
  return stream.get();
}

EmbedStreamReactor::EmbedStreamReactor(const Rpc& rpc, grpc::CallbackServerContext& context)
    : rpc_(rpc),
      context_(context),
      started_at_(rpc.clock.Now()),
      deadline_(DeadlineOf(context, started_at_)),
      request_id_(RequestIdOf(context)),
      uploads_(UploadLimits(rpc.model_info.limits()), [this](int64_t bytes) { return rpc_.pipeline->Reserve(bytes); }),
      window_(WindowLimits(rpc.model_info.limits())) {}

void EmbedStreamReactor::Open() {
  context_.AddTrailingMetadata(kRequestIdKey, request_id_);
  if (const std::optional<Refusal> closed = rpc_.lifecycle.EnterStream(self_)) {
    rpc_.metrics.CountRejected(kMethod, closed->fault);
    End(MakeStatus(closed->fault, closed->message));
  }
  Drive();
}

// Each reaction takes the lock first: gRPC orders it after what came before, but ThreadSanitizer does not see into the
// packaged library.
void EmbedStreamReactor::OnReadDone(bool ok) {
  bool ended = false;
  {
    MutexLock lock(mu_);
    ended = end_.has_value();
    half_closed_ = half_closed_ || !ok;
  }
  rest_.End();
  const TimePoint received_at = rpc_.clock.Now();
  if (!ended) {
    const absl::Status taken =
        Guarded(kMethod, request_id_, [&] { return ok ? Receive(received_at) : CheckHalfClose(); });
    if (!taken.ok()) End(taken);
  }
  {
    MutexLock lock(mu_);
    reading_ = false;
  }
  Drive();
}

void EmbedStreamReactor::OnWriteDone(bool ok) {
  std::optional<Answered> sent;
  {
    MutexLock lock(mu_);
    if (!ok || sending_->wire.done()) sent.swap(sending_);
  }
  taken_.End();
  outgoing_.Clear();
  if (sent) {
    const TimePoint now = rpc_.clock.Now();
    if (ok) rpc_.metrics.ObserveStage(Stage::kSend, Seconds(now - sent->ready_at));
    rpc_.tracer.Wait("send", sent->ready_at, now, rpc_.tracer.NextNumber());
    sent->permit = Permit();  // before what waits for room looks
  }
  {
    MutexLock lock(mu_);
    writing_ = false;
    if (sent) {
      ++answers_sent_;
      window_.Leave(sent->held);
    }
  }
  if (!ok) End(GoneStatus());
  Drive();
}

void EmbedStreamReactor::OnCancel() {
  {
    MutexLock lock(mu_);
    if (end_) return;
  }
  End(GoneStatus());
  Drive();
}

absl::Status EmbedStreamReactor::GoneStatus() const {
  const Fault why = rpc_.clock.Now() >= deadline_ ? Fault::kExpired : Fault::kCancelled;
  return MakeStatus(why, "the client did not wait for the end of the stream");
}

// Ends gRPC's call only where a message is stuck in it: else Finish can still tell the client why.
void EmbedStreamReactor::OnStall(const std::shared_ptr<grpc_call>& call, std::string_view what) {
  const absl::Status stalled = StalledStatus(rpc_.stalls, what);
  size_t lost = 0;
  bool stuck = false;
  {
    MutexLock lock(mu_);
    if (end_) return;
    lost = outbox_.size() + (sending_ ? 1 : 0) + static_cast<size_t>(window_.incomplete_items());
    stuck = writing_;
  }
  for (size_t i = 0; i < lost; ++i) rpc_.metrics.CountDropped(Fault::kStalled);
  Log(LogLevel::kWarning, Cat("a stream is ended: ", std::string(stalled.message())), request_id_);
  End(stalled);
  if (stuck) EndCall(*call, stalled);
  Drive();
}

void EmbedStreamReactor::OnDrain() {
  {
    MutexLock lock(mu_);
    draining_ = true;
  }
  Drive();
}

void EmbedStreamReactor::End(const absl::Status& status) {
  std::vector<std::shared_ptr<Call>> unanswered;
  std::deque<Answered> unsent;  // freed without the lock
  {
    MutexLock lock(mu_);
    if (end_) return;
    end_ = status;
    unsent.swap(outbox_);
    for (const auto& [key, item] : items_) unanswered.push_back(item.call);
  }
  for (const std::shared_ptr<Call>& call : unanswered) call->Cancel();
}

void EmbedStreamReactor::OnDone() {
  absl::Status end;
  int64_t answers = 0;
  {
    MutexLock lock(mu_);
    end = *end_;
    answers = answers_sent_;
  }
  uploads_.Clear();
  sending_.reset();
  rpc_.metrics.ObserveRequest(kMethod, end.code(), Seconds(rpc_.clock.Now() - started_at_));
  if (ShouldLog(LogLevel::kDebug)) {
    Log(LogLevel::kDebug, Cat("a stream ended: ", answers, " answers, ", CodeName(end.code())), request_id_);
  }
  const std::shared_ptr<EmbedStreamReactor> self = std::move(self_);
  rpc_.lifecycle.LeaveStream(*self);
}

void EmbedStreamReactor::Drive() {
  const std::shared_ptr<EmbedStreamReactor> alive = shared_from_this();
  {
    MutexLock lock(mu_);
    if (driving_) return;  // who drives looks again
    driving_ = true;
  }
  while (true) {
    switch (Next()) {
      case Action::kNone:
        return;
      case Action::kUnpark:
        Unpark();
        break;
      case Action::kWrite:
        Write();
        break;
      case Action::kRead:
        Read();
        break;
      case Action::kFinish:
        return Finish(ToGrpc(EndStatus()));
    }
  }
}

// With kNone and kFinish the driver leaves.
EmbedStreamReactor::Action EmbedStreamReactor::Next() {
  MutexLock lock(mu_);
  if (parked_ && !reading_ && (end_ || window_.permits() <= parked_->retry_at)) return Action::kUnpark;
  if (!finished_ && !end_ && !writing_ && (sending_ || !outbox_.empty())) {
    writing_ = true;
    return Action::kWrite;
  }
  if (!finished_ && !writing_ && (end_ || AllSent())) {
    finished_ = true;
    driving_ = false;
    if (!end_) end_ = half_closed_ ? absl::OkStatus() : DrainedStatus();
    return Action::kFinish;
  }
  if (MayRead()) {
    reading_ = true;
    return Action::kRead;
  }
  driving_ = false;
  return Action::kNone;
}

bool EmbedStreamReactor::MayRead() const {
  return !reading_ && !half_closed_ && !draining_ && !end_ && !parked_ && window_.open();
}

// By the keys, since an answer on its way from items_ to outbox_ is in neither. What half-closing means for incomplete
// items is settled while reading_ is still set.
bool EmbedStreamReactor::AllSent() const {
  const bool no_more = (half_closed_ && !reading_) || draining_;
  return no_more && keys_.empty() && !sending_;
}

absl::Status EmbedStreamReactor::EndStatus() const {
  MutexLock lock(mu_);
  return *end_;
}

}  // namespace vitower
