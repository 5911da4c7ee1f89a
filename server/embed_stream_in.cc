#include <grpcpp/support/proto_buffer_reader.h>

#include <string>
#include <utility>
#include <vector>

#include "server/embed_stream.h"
#include "server/wire_check.h"

namespace vitower {
namespace {

std::optional<Refusal> ParseItem(const std::vector<grpc::Slice>& slices, v1::Item& item) {
  grpc::ByteBuffer bytes(slices.data(), slices.size());
  {
    grpc::ProtoBufferReader reader(&bytes);
    if (std::optional<Refusal> refusal = CheckItemWire(reader)) return refusal;
  }
  grpc::ProtoBufferReader reader(&bytes);
  if (item.ParseFromZeroCopyStream(&reader)) return std::nullopt;
  return Refusal{Fault::kMalformed, "the item is not a vitower.v1.Item"};
}

}  // namespace

void EmbedStreamReactor::Read() {
  {
    MutexLock lock(mu_);
    if (window_.incomplete_items() > 0) {
      rest_.Begin(rpc_.stalls, [self = shared_from_this(), call = Hold(context_)] {
        self->OnStall(call, "sent no more of an item that it had begun");
      });
    }
  }
  StartRead(&incoming_);
}

absl::Status EmbedStreamReactor::CheckHalfClose() {
  if (context_.IsCancelled()) return GoneStatus();
  if (uploads_.count() == 0) return absl::OkStatus();
  return RuleBroken(Cat("the stream was half-closed before the last part of the item with key ", uploads_.some_key()));
}

absl::Status EmbedStreamReactor::Receive(TimePoint received_at) {
  rpc_.metrics.CountReceived(static_cast<int64_t>(incoming_.Length()));
  std::optional<StreamRequest> request = ParseStreamRequest(incoming_);
  incoming_.Clear();
  if (!request) return RuleBroken("the message is not a vitower.v1.EmbedStreamRequest");
  const uint64_t key = request->key;
  if (request->body == StreamRequest::Body::kNone) {
    return RuleBroken(Cat("the message with key ", key, " has no body: set item or part"));
  }
  if (InFlight(key)) return RuleBroken(Cat("an item with key ", key, " is in flight: wait for its whole answer"));
  if (request->body == StreamRequest::Body::kPart) return TakePart(*std::move(request), received_at);
  if (uploads_.Has(key)) return RuleBroken(Cat("the item with key ", key, " came in part and is not complete"));
  TakeItem(key, {std::move(request->payload), static_cast<int64_t>(request->payload_bytes), received_at, std::nullopt});
  return absl::OkStatus();
}

absl::Status EmbedStreamReactor::TakePart(StreamRequest part, TimePoint received_at) {
  const uint64_t key = part.key;
  StreamUploads::Added added = uploads_.Add(part, received_at, /*insist=*/HoldsNothing());
  {
    MutexLock lock(mu_);
    window_.SetIncomplete(uploads_.count(), uploads_.held_bytes());
  }
  switch (added.outcome) {
    case StreamUploads::Added::Outcome::kMore:
      return absl::OkStatus();
    case StreamUploads::Added::Outcome::kBroken:
      return RuleBroken(added.broken);
    case StreamUploads::Added::Outcome::kNoRoom:
      Park({key, /*call=*/nullptr, std::move(part), received_at});
      return absl::OkStatus();
    case StreamUploads::Added::Outcome::kWhole:
      TakeItem(key, added.whole);
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

void EmbedStreamReactor::TakeItem(uint64_t key, const StreamUploads::Whole& whole) {
  v1::EmbedRequest request;
  v1::Item& item = *request.add_items();
  std::optional<Refusal> refusal = whole.refused;
  if (!refusal) refusal = ParseItem(whole.bytes, item);
  const std::shared_ptr<Call> call = NewCall(key, std::move(request), whole.begun_at);
  if (!refusal) refusal = rpc_.lifecycle.Enter(call);
  Settle(key, call, whole.total, std::move(refusal));
}

std::shared_ptr<Call> EmbedStreamReactor::NewCall(uint64_t key, v1::EmbedRequest request, TimePoint received_at) {
  Call::Start start{request_id_, received_at, rpc_.clock.Now(), deadline_, /*in_parts=*/true};
  auto call = std::make_shared<Call>(std::move(start), std::move(request),
                                     [self = shared_from_this(), key] { self->OnAnswered(key); });
  MutexLock lock(mu_);
  if (end_) call->Cancel();
  keys_.insert(key);
  items_.emplace(key, Item{call, Permit(), Need()});
  window_.Enter();
  return call;
}

// From here on the call is answered, whatever happens: it is sealed or parked.
void EmbedStreamReactor::Settle(uint64_t key, const std::shared_ptr<Call>& call, int64_t request_bytes,
                                std::optional<Refusal> refusal) {
  const absl::Status settled = Guarded(kMethod, request_id_, [&] {
    refusal ? Refuse(*call, *refusal) : Accept(key, call, request_bytes);
    return absl::OkStatus();
  });
  if (settled.ok()) return;
  call->Cancel();  // for the job, if it was handed out before something was thrown
  call->Answer(0, FailedAnswer(settled, {}, rpc_.clock.Now()));
  call->Seal();
}

// `alone` is asked for before Accept: what the stream holds can only become less meanwhile.
void EmbedStreamReactor::Accept(uint64_t key, const std::shared_ptr<Call>& call, int64_t request_bytes) {
  const bool alone = HoldsNothing();
  Permit permit;
  if (const std::optional<Refusal> refusal = rpc_.pipeline->Accept(call, request_bytes, permit)) {
    if (!IsPassing(refusal->fault) || alone) return Refuse(*call, *refusal);
    return Park({key, call, std::nullopt, TimePoint(), request_bytes});
  }
  {
    MutexLock lock(mu_);
    Item& item = items_.at(key);
    item.held = permit.held();
    item.permit = std::move(permit);
    window_.Hold({}, item.held);
  }
  call->Seal();
}

void EmbedStreamReactor::Refuse(Call& call, const Refusal& refusal) {
  rpc_.metrics.CountRejected(kMethod, refusal.fault);
  Log(RefusalLevel(refusal.fault), Cat("an item of a stream was refused: ", refusal.message), request_id_);
  const TimePoint now = rpc_.clock.Now();
  StageTimes times;
  times.Set(Stage::kReceive, call.start().parsed_at - call.start().started_at);
  times.Set(Stage::kAdmit, now - call.start().parsed_at);
  ItemAnswer answer = FailedAnswer(MakeStatus(refusal.fault, refusal.message), times, now);
  if (Row(refusal.fault).code == absl::StatusCode::kResourceExhausted) {
    answer.result.set_retry_after_ms(IsPassing(refusal.fault) ? static_cast<uint32_t>(refusal.retry_after.count()) : 0);
  }
  call.Answer(0, std::move(answer));
  call.Seal();
}

// Halving the permits between the tries keeps their number small.
void EmbedStreamReactor::Park(Parked parked) {
  MutexLock lock(mu_);
  parked.retry_at = window_.permits() / 2;
  parked_ = std::move(parked);
}

void EmbedStreamReactor::Unpark() {
  Parked parked;
  bool ended = false;
  {
    MutexLock lock(mu_);
    parked = *std::move(parked_);
    parked_.reset();
    ended = end_.has_value();
  }
  if (parked.call) return ended ? Drop(*parked.call) : Settle(parked.key, parked.call, parked.bytes, std::nullopt);
  if (ended) return;
  const absl::Status taken =
      Guarded(kMethod, request_id_, [&] { return TakePart(*std::move(parked.part), parked.received_at); });
  if (!taken.ok()) End(taken);
}

void EmbedStreamReactor::Drop(Call& call) {
  rpc_.metrics.CountDropped(Fault::kCancelled);
  const absl::Status why = MakeStatus(Fault::kCancelled, "the stream ended before the item was admitted");
  call.Answer(0, FailedAnswer(why, {}, rpc_.clock.Now()));
  call.Seal();
}

bool EmbedStreamReactor::InFlight(uint64_t key) const {
  MutexLock lock(mu_);
  return keys_.count(key) > 0;
}

bool EmbedStreamReactor::HoldsNothing() const {
  MutexLock lock(mu_);
  return window_.permits() == 0;
}

absl::Status EmbedStreamReactor::RuleBroken(const std::string& rule) {
  rpc_.metrics.CountRejected(kMethod, Fault::kMalformed);
  Log(LogLevel::kWarning, Cat("a stream broke a rule: ", rule), request_id_);
  return MakeStatus(Fault::kMalformed, rule);
}

}  // namespace vitower
