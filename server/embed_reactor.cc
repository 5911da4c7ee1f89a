#include "server/embed_reactor.h"

#include <grpcpp/support/proto_buffer_reader.h>

#include <string>
#include <utility>

#include "server/result_wire.h"
#include "server/wire_check.h"

namespace vitower {
namespace {

constexpr char kMethod[] = "Embed";

}  // namespace

void EmbedReactor::Start(grpc::ByteBuffer& bytes) {
  const absl::Status accepted = Guarded(kMethod, request_id_, [&] { return Open(bytes); });
  if (accepted.ok()) return call_->Seal();
  if (call_) call_->Cancel();  // for the jobs that were handed out before something was thrown
  FinishWith(accepted);
}

absl::Status EmbedReactor::Open(grpc::ByteBuffer& bytes) {
  // gRPC hands over none, which is not an empty one, where the connection broke within the request.
  if (!bytes.Valid()) return MakeStatus(Fault::kCancelled, "the client went away before its request had come");
  const auto request_bytes = static_cast<int64_t>(bytes.Length());
  rpc_.metrics.CountReceived(request_bytes);
  request_id_ = RequestIdOf(context_);
  context_.AddTrailingMetadata(kRequestIdKey, request_id_);
  std::optional<Refusal> refusal = Parse(bytes);
  if (!refusal) refusal = Accept(request_bytes);
  return refusal ? Refuse(*refusal) : absl::OkStatus();
}

// Takes no memory to speak of for what will be refused anyway.
std::optional<Refusal> EmbedReactor::Parse(grpc::ByteBuffer& bytes) {
  if (std::optional<Refusal> closed = rpc_.lifecycle.Closed()) return closed;
  const auto max_items = static_cast<int64_t>(rpc_.model_info.limits().max_request_items());
  {
    grpc::ProtoBufferReader reader(&bytes);
    if (std::optional<Refusal> refusal = CheckWire(reader, max_items)) return refusal;
  }
  v1::EmbedRequest request;
  {
    grpc::ProtoBufferReader reader(&bytes);
    if (!request.ParseFromZeroCopyStream(&reader)) return Malformed();
  }
  bytes.Clear();
  Call::Start start{request_id_, started_at_, rpc_.clock.Now(), DeadlineOf(context_, rpc_.clock.Now())};
  call_ = std::make_shared<Call>(std::move(start), std::move(request), [this] { Send(); });
  return std::nullopt;
}

std::optional<Refusal> EmbedReactor::Accept(int64_t request_bytes) {
  if (std::optional<Refusal> refusal = rpc_.lifecycle.Enter(call_)) return refusal;
  return rpc_.pipeline->Accept(call_, request_bytes, permit_);
}

absl::Status EmbedReactor::Refuse(const Refusal& refusal) {
  rpc_.metrics.CountRejected(kMethod, refusal.fault);
  if (Row(refusal.fault).code == absl::StatusCode::kResourceExhausted) {
    context_.AddTrailingMetadata("grpc-retry-pushback-ms",
                                 IsPassing(refusal.fault) ? std::to_string(refusal.retry_after.count()) : "-1");
  }
  Log(RefusalLevel(refusal.fault), Cat("Embed refused: ", refusal.message), request_id_);
  return MakeStatus(refusal.fault, refusal.message);
}

// On the thread that answered the last item.
void EmbedReactor::Send() {
  const absl::Status built = Guarded(kMethod, request_id_, [this] { return BuildReply(); });
  if (!built.ok()) {
    items_sent_ = 0;
    reply_.Clear();
  }
  FinishWith(built);
}

absl::Status EmbedReactor::BuildReply() {
  CountItems();
  const std::optional<Fault> gone = call_->ClientGone(rpc_.clock.Now());
  if (!gone) Serialise();
  serialised_at_ = rpc_.clock.Now();
  ObserveStages();
  permit_.ReleaseItems();
  return gone ? MakeStatus(*gone, "the client did not wait for the reply") : absl::OkStatus();
}

void EmbedReactor::CountItems() {
  for (size_t i = 0; i < call_->kinds().size(); ++i) {
    const uint32_t code = call_->answers()[i].result.status().code();
    rpc_.metrics.CountItem(call_->kinds()[i], static_cast<absl::StatusCode>(code));
  }
}

void EmbedReactor::Serialise() {
  ResponseWire response;
  for (ItemAnswer& answer : call_->answers()) response.Add(std::move(answer.result));
  reply_ = response.Finish();
  items_sent_ = call_->answers().size();
  rpc_.metrics.CountSent(static_cast<int64_t>(reply_.Length()));
}

void EmbedReactor::ObserveStages() {
  for (ItemAnswer& answer : call_->answers()) {
    if (items_sent_ > 0) answer.times.Set(Stage::kEncode, serialised_at_ - answer.encode_from);
    vitower::ObserveStages(answer.times, rpc_.metrics);
  }
}

// What runs on a stall has its own of all it needs: the reactor may be gone.
void EmbedReactor::WatchReply() {
  taken_.Begin(rpc_.stalls, [&rpc = rpc_, call = Hold(context_), items = items_sent_, request_id = request_id_] {
    const absl::Status stalled = StalledStatus(rpc.stalls, "did not take the reply");
    for (size_t i = 0; i < items; ++i) rpc.metrics.CountDropped(Fault::kStalled);
    Log(LogLevel::kWarning, Cat("Embed is ended: ", std::string(stalled.message())), request_id);
    EndCall(*call, stalled);
  });
}

void EmbedReactor::FinishWith(const absl::Status& status) {
  code_ = status.code();
  if (items_sent_ > 0) WatchReply();
  finished_.store(true, std::memory_order_release);
  Finish(ToGrpc(status));
}

void EmbedReactor::OnDone() {
  finished_.load(std::memory_order_acquire);
  const TimePoint done_at = rpc_.clock.Now();
  if (taken_.End()) code_ = Row(Fault::kStalled).code;
  if (items_sent_ > 0) rpc_.tracer.Wait("send", serialised_at_, done_at, rpc_.tracer.NextNumber());
  const double send_seconds = Seconds(done_at - serialised_at_);
  for (size_t i = 0; i < items_sent_; ++i) rpc_.metrics.ObserveStage(Stage::kSend, send_seconds);
  rpc_.metrics.ObserveRequest(kMethod, code_, Seconds(done_at - started_at_));
  if (ShouldLog(LogLevel::kDebug)) {
    Log(LogLevel::kDebug, Cat("Embed done: ", items_sent_, " items, ", CodeName(code_)), request_id_);
  }
  const std::shared_ptr<Call> call = std::move(call_);
  Lifecycle& lifecycle = rpc_.lifecycle;
  delete this;  // the permit with it
  if (call) lifecycle.Leave(*call);
}

}  // namespace vitower
